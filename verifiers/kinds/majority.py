"""Verifies by `majority`: self-consistency over all trajectories of a problem that has no gold (Wang et al. 2022).

    responses ─► canonicalise (extract, then group by the math ladder) ─► consensus ─► a verdict for each trajectory

The share of a class is its weight over the weight of all trajectories that gave an answer. `weights` says what each
trajectory counts for: its leaf's share of the votes in a tree, times an ORM's score where there is one; 1 for responses
of their own. `chains` says which of them share a beginning, and with it its errors: they are counted as independent
chains, of which those of unequal weight are fewer,

    n = (sum of m_c)² / sum of m_c²          m_c: weight of the answers of chain c          (Kish 1965)

The heaviest class is the label where n >= `min_chains`, its share is at least `threshold`, and it is ahead of the next
beyond doubt: the one-sided lower bound at `confidence` (Wilson 1927) of its share p of the votes for either, a_c and
b_c in chain c, is above 1/2. They count as so many independent votes (Korn and Graubard 1998):

    p = sum a_c / sum (a_c + b_c)            v = C / (C - 1) · sum (a_c - p (a_c + b_c))² / (sum (a_c + b_c))²
    votes = min(leaves, p (1 - p) / v) · (t_(leaves - 1) / t_(C - 1))²

v is the variance of p as the C chains tell it, `leaves` their number if none were alike (as n is, leaf by leaf), and
Student's t pays for telling it from few. Never fewer than one vote a chain: n · share of the two.
Degenerate case: fewer than `min_answers` answers, too few chains, a tie, or a lead that may be chance label nothing:
every verdict is UNVERIFIABLE (no_consensus).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extraction.extract import find_answer
from berry.verifiers.maths.ladder import decide, gold_fault, last_side
from berry.verifiers.specs.base import DEFAULT, Strictness
from berry.verifiers.specs.union import MajoritySpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, SymbolicRung, VerifierContext


@dataclass(frozen=True, slots=True)
class ConsensusRequest:
    """All responses of one problem, by trajectory; `weights` >= 0 by trajectory, None: all count the same. `chains`: by
    trajectory, which independent chain it is of; None: each is one."""

    problem_id: str
    spec: MajoritySpec
    responses: Mapping[str, str]
    weights: Mapping[str, float] | None = None
    chains: Mapping[str, str] | None = None


async def verify(request: CheckRequest, tools: VerifierContext) -> Verdict:
    """NOT_CHECKED with the answer, since one response alone is never enough, until `consensus` has all of them."""
    spec = request.spec
    assert isinstance(spec, MajoritySpec)
    answer = readable_answer(request.response, spec, spec.strictness or tools.config.strictness)
    if answer is None:
        return verdict(Reason.NO_ANSWER)
    return verdict(Reason.NOT_CHECKED, answer=answer, note="majority is decided at the end of the search")


def fault(spec: MajoritySpec) -> str | None:  # noqa: ARG001 - one signature for all kinds
    """Nothing can be wrong with it: there is no gold."""
    return None


def readable_answer(response: str, spec: MajoritySpec, strict: Strictness = DEFAULT) -> str | None:
    """The answer of one response, after its thinking; None where there is none, several, or one that can't be read."""
    found = find_answer(response, spec.extract)
    if found is None or (found.others and strict.boxes == "agree") or gold_fault(found.answer) is not None:
        return None
    return last_side(found.answer)


async def canonicalise(
    responses: Mapping[str, str], spec: MajoritySpec, symbolic: SymbolicRung, strictness: Strictness = DEFAULT
) -> dict[str, str | None]:
    """Each trajectory's answer, written the same way wherever it is the same mathematics; None without an answer.

    The spelling of a class is its most common one, then the shortest, then the first in the alphabet, so that it
    does not depend on the order of `responses`. `strictness`: where the spec names none.
    """
    from berry.verifiers.kinds.math import same_answer

    strict = spec.strictness or strictness
    answers = {key: readable_answer(response, spec, strict) for key, response in responses.items()}
    counts: dict[str, int] = {}
    for answer in answers.values():
        if answer is not None:
            counts[answer] = counts.get(answer, 0) + 1
    spelling: dict[str, str] = {}
    names: list[str] = []
    for answer in sorted(counts, key=lambda a: (-counts[a], len(a), a)):
        for name in names:
            if (await same_answer(name, answer, strict, symbolic)).same:
                spelling[answer] = name
                break
        else:
            names.append(answer)
            spelling[answer] = answer
    return {key: None if answer is None else spelling[answer] for key, answer in answers.items()}


def one_spelling(answers: Iterable[str | None], strict: Strictness = DEFAULT) -> dict[str, str]:
    """The spelling of each answer's class, as `canonicalise` has it, as far as the rungs go that need no sandbox: for
    votes over answers that were found before."""
    counts = Counter(answer for answer in answers if answer is not None)
    spelling: dict[str, str] = {}
    names: list[str] = []
    for answer in sorted(counts, key=lambda a: (-counts[a], len(a), a)):
        spelling[answer] = next((name for name in names if decide(name, answer, strict).same), answer)
        if spelling[answer] is answer:
            names.append(answer)
    return spelling


def consensus(
    answers: Mapping[str, str | None],
    weights: Mapping[str, float] | None,
    spec: MajoritySpec,
    chains: Mapping[str, str] | None = None,
) -> dict[str, Verdict]:
    """A verdict for each trajectory id in `answers` (canonical; None: no answer). `weights` >= 0, None: all 1;
    `chains`: as in `ConsensusRequest`."""
    given = {key: answer for key, answer in answers.items() if answer is not None}
    ballots: list[_Ballot] = []
    mass: dict[str, float] = {}
    for key in sorted(given):
        weight = 1.0 if weights is None else max(0.0, weights.get(key, 0.0))
        ballots.append((given[key], key if chains is None else chains[key], weight))
        mass[given[key]] = mass.get(given[key], 0.0) + weight
    total = sum(mass[answer] for answer in sorted(mass))
    ranked = sorted(mass, key=lambda a: (-mass[a], a))
    first = mass[ranked[0]] / total if total > 0 else 0.0
    independent = _effective(_by_chain(ballots).values())
    enough = len(given) >= spec.min_answers and independent >= spec.min_chains - 1e-9
    agreed = enough and first >= spec.threshold and _is_ahead(ballots, ranked[:2], independent / total, spec.confidence)
    evidence = {"share": first, "answers": len(given), "chains": round(independent, 3), "classes": len(mass)}
    verdicts: dict[str, Verdict] = {}
    for key, answer in answers.items():
        if answer is None:
            verdicts[key] = verdict(Reason.NO_ANSWER, **evidence)
        elif not agreed:
            verdicts[key] = verdict(Reason.NO_CONSENSUS, answer=answer, **evidence)
        else:
            reason = Reason.CORRECT if answer == ranked[0] else Reason.WRONG_ANSWER
            verdicts[key] = verdict(reason, answer=answer, pseudo_label=ranked[0], **evidence)
    return verdicts


_Ballot = tuple[str, str, float]  # answer, chain, weight


def _by_chain(ballots: Iterable[_Ballot]) -> dict[str, float]:
    """Sum of the weights of each chain's ballots."""
    sums: dict[str, float] = {}
    for _, chain, weight in ballots:
        sums[chain] = sums.get(chain, 0.0) + weight
    return sums


def _effective(weights: Iterable[float]) -> float:
    """How many equal ones say as much as these of unequal weight (Kish 1965)."""
    all_of_them = list(weights)
    squares = sum(w * w for w in all_of_them)
    return sum(all_of_them) ** 2 / squares if squares else 0.0


def _is_ahead(ballots: Sequence[_Ballot], ranked: Sequence[str], chains_a_weight: float, confidence: float) -> bool:
    """Whether the first of two classes is ahead of the second, at a one-sided confidence; `chains_a_weight`: how many
    independent chains stand behind a unit of weight."""
    pair = [ballot for ballot in ballots if ballot[0] in ranked]
    first, both = _by_chain(b for b in pair if b[0] == ranked[0]), _by_chain(pair)
    total = sum(both.values())
    share = sum(first.values()) / total
    if len(ranked) > 1 and share <= 0.5 * (1 + 1e-9):
        return False
    level = max(confidence, 0.5)
    votes = total * chains_a_weight
    voting = sum(weight > 0 for weight in both.values())
    if share < 1 and voting > 1:
        residual = sum((first.get(chain, 0.0) - share * weight) ** 2 for chain, weight in both.items())
        variance = voting / (voting - 1) * residual / total**2
        leaves = _effective(weight for *_, weight in pair)
        told = min(leaves, share * (1 - share) / variance) if variance else leaves
        votes = max(votes, told * _fewer_degrees(leaves - 1, voting - 1, level))
    z = NormalDist().inv_cdf(level)
    centre, half = share + z * z / (2 * votes), z * sqrt(share * (1 - share) / votes + (z / (2 * votes)) ** 2)
    return centre - half > (1 + z * z / votes) / 2


def _fewer_degrees(many: float, few: float, level: float) -> float:
    """What a sample counts for whose variance is told with `few` degrees of freedom in place of `many`: the squared
    ratio of Student's quantiles."""
    from scipy.special import stdtrit

    return float((stdtrit(many, level) / stdtrit(few, level)) ** 2) if few < many and level > 0.5 else 1.0
