"""Verifies by `majority`: self-consistency over all trajectories of a problem that has no gold (Wang et al. 2022).

    responses ─► canonicalise (extract, then group by the math ladder) ─► consensus ─► a verdict for each trajectory

The share of a class is its weight over the weight of all trajectories that gave an answer. `weights` says what each
trajectory counts for: the probability weight with which a tree drew its leaf, an ORM's score, or 1 where there is none.
Degenerate case: fewer than `min_answers` answers, a tie, or a share below `threshold` label nothing: every verdict is
UNVERIFIABLE (no_consensus).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extract import find_answer
from berry.verifiers.maths.ladder import gold_fault, last_side
from berry.verifiers.specs.base import DEFAULT, Strictness
from berry.verifiers.specs.union import MajoritySpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, SymbolicRung, VerifierContext


@dataclass(frozen=True, slots=True)
class ConsensusRequest:
    """All responses of one problem, by trajectory; `weights` >= 0 by trajectory, None: all count the same."""

    problem_id: str
    spec: MajoritySpec
    responses: Mapping[str, str]
    weights: Mapping[str, float] | None = None


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


def consensus(
    answers: Mapping[str, str | None], weights: Mapping[str, float] | None, spec: MajoritySpec
) -> dict[str, Verdict]:
    """A verdict for each trajectory id in `answers` (canonical; None: no answer). `weights` >= 0; None: all 1."""
    given = {key: answer for key, answer in answers.items() if answer is not None}
    mass: dict[str, float] = {}
    for key in sorted(given):
        weight = 1.0 if weights is None else max(0.0, weights.get(key, 0.0))
        mass[given[key]] = mass.get(given[key], 0.0) + weight
    total = sum(mass[answer] for answer in sorted(mass))
    ranked = sorted(mass, key=lambda a: (-mass[a], a))
    share = mass[ranked[0]] / total if ranked and total > 0 else 0.0
    tied = len(ranked) > 1 and mass[ranked[1]] >= mass[ranked[0]] * (1 - 1e-9)
    agreed = len(given) >= spec.min_answers and share >= spec.threshold and not tied
    evidence = {"share": share, "answers": len(given), "classes": len(mass)}
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
