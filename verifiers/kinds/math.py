"""`math`: the last answer in the response equals the gold, as mathematics.

Several boxes that disagree are a FAIL of their own kind: a model that offers two answers has given neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extract import find_answer
from berry.verifiers.maths.ladder import Decision, decide, gold_fault
from berry.verifiers.specs.union import MathSpec, Strictness

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, SymbolicRung, VerifierContext


async def verify(request: CheckRequest, tools: VerifierContext) -> Verdict:
    spec = request.spec
    assert isinstance(spec, MathSpec)
    if (fault := gold_fault(spec.answer)) is not None:
        return verdict(Reason.GOLD_UNPARSABLE, expected=spec.answer, note=fault)
    found = find_answer(request.response, spec.extract)
    if found is None:
        return verdict(Reason.NO_ANSWER)
    decision = await same_answer(spec.answer, found.answer, spec.strictness, tools.symbolic)
    evidence = {"expected": spec.answer, "rung": decision.rung, "place": found.place, "note": decision.note}
    if found.too_many:
        return verdict(Reason.CONFLICTING_ANSWERS, answer=found.answer, others="over 8 different ones", **evidence)
    if decision.reason.outcome is not Reason.GOLD_UNPARSABLE.outcome:
        for other in found.others:
            also = await same_answer(spec.answer, other, spec.strictness, tools.symbolic)
            if also.same is not decision.same:
                return verdict(Reason.CONFLICTING_ANSWERS, answer=found.answer, others=other, **evidence)
    return verdict(decision.reason, answer=found.answer, **evidence)


def fault(spec: MathSpec) -> str | None:
    """Why the gold answer can't be read; None when it can."""
    return gold_fault(spec.answer)


async def same_answer(gold: str, response: str, strict: Strictness, symbolic: SymbolicRung) -> Decision:
    """The whole ladder. Where it ends undecided, the reason is one of an UNVERIFIABLE verdict."""
    decision = decide(gold, response, strict)
    if decision.same is not None or decision.reason is Reason.GOLD_UNPARSABLE:
        return decision
    return await symbolic.decide(gold, response, strict)
