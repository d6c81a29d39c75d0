"""Verifies by `majority`: self-consistency over all trajectories of a problem that has no gold (Wang et al. 2022).

    responses ─► canonicalise (extract, then group by the math ladder) ─► consensus ─► a verdict for each trajectory

The share of a class is its weight over the weight of all trajectories that gave an answer. `weights` says what each
trajectory counts for: the probability weight with which a tree drew its leaf, times an ORM's score where there is one;
1 for responses of their own. `chains` says which of them share a beginning, and with it its errors: they are counted as
independent chains, of which those of unequal weight are fewer,

    n = (sum of m_c)² / sum of m_c²          m_c: weight of the answers of chain c          (Kish 1965)

The heaviest class is the label where n >= `min_chains`, its share is at least `threshold`, and it is ahead of the next
beyond doubt: of n · (a + b) votes for either it has the share a / (a + b), whose one-sided lower bound at `confidence`
(Wilson 1927) is to be above 1/2.
Degenerate case: fewer than `min_answers` answers, too few chains, a tie, or a lead that may be chance label nothing:
every verdict is UNVERIFIABLE (no_consensus).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extract import find_answer
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
    mass: dict[str, float] = {}
    of_chain: dict[str, float] = {}
    for key in sorted(given):
        weight = 1.0 if weights is None else max(0.0, weights.get(key, 0.0))
        chain = key if chains is None else chains[key]
        mass[given[key]] = mass.get(given[key], 0.0) + weight
        of_chain[chain] = of_chain.get(chain, 0.0) + weight
    total = sum(mass[answer] for answer in sorted(mass))
    ranked = sorted(mass, key=lambda a: (-mass[a], a))
    shares = [mass[answer] / total if total > 0 else 0.0 for answer in ranked[:2]]
    first, second = (*shares, 0.0, 0.0)[:2]
    independent = total * total / sum(m * m for m in of_chain.values()) if total > 0 else 0.0
    enough = len(given) >= spec.min_answers and independent >= spec.min_chains - 1e-9
    agreed = enough and first >= spec.threshold and _is_ahead(first, second, independent, spec.confidence)
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


def _is_ahead(first: float, second: float, n: float, confidence: float) -> bool:
    """Whether a class with the share `first` of `n` votes is ahead of one with `second`, at a one-sided confidence."""
    votes = n * (first + second)
    if votes <= 0 or second >= first * (1 - 1e-9):
        return False
    z = NormalDist().inv_cdf(max(confidence, 0.5))
    share = first / (first + second)
    centre, half = share + z * z / (2 * votes), z * sqrt(share * (1 - share) / votes + (z / (2 * votes)) ** 2)
    return centre - half > (1 + z * z / votes) / 2
