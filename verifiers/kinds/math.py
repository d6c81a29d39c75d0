"""Verifies `math`: the last answer in the response equals the gold answer, as mathematics.

Several boxes that disagree are a FAIL of their own kind, as a model that offers two answers has given neither; unless
together they are the several values of the gold, or the strictness looks at the last box alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extraction import sentences
from berry.verifiers.extraction.extract import FoundAnswer, find_answer
from berry.verifiers.maths.ladder import Equivalence, decide, gold_fault, is_list, is_words
from berry.verifiers.specs.union import MathSpec, Strictness

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, SymbolicRung, VerifierContext


async def verify(request: CheckRequest, tools: VerifierContext) -> Verdict:
    """The verdict on the answer in `request.response`."""
    spec = request.spec
    assert isinstance(spec, MathSpec)
    if (fault := gold_fault(spec.answer)) is not None:
        return verdict(Reason.GOLD_UNPARSABLE, expected=spec.answer, note=fault)
    found = find_answer(request.response, spec.extract)
    if found is None:
        return verdict(Reason.NO_ANSWER)
    strict = spec.strictness or tools.config.strictness
    decision = await same_answer(spec.answer, found.answer, strict, tools.symbolic)
    if decision.same is False and found.stated is not None and is_words(spec.answer):
        whole = decide(spec.answer, found.stated, strict)  # the gold may be a sentence itself
        if not whole.same and (reply := sentences.reply(found.stated)) is not None:
            whole = decide(spec.answer, reply, strict)
        decision = whole if whole.same else decision
    if decision.same is False and (number := sentences.exclaimed(found.answer, request.response)) is not None:
        plain = decide(spec.answer, number, strict)
        decision = plain if plain.same else decision
    evidence = {"expected": spec.answer, "rung": decision.rung, "place": found.place, "note": decision.note}
    if decision.reason is Reason.GOLD_UNPARSABLE or not found.others or (strict.boxes == "last" and decision.same):
        return verdict(decision.reason, answer=found.answer, **evidence)
    if found.too_many and strict.boxes == "agree":
        return verdict(Reason.CONFLICTING_ANSWERS, answer=found.answer, others="over 8 different ones", **evidence)
    return await _several(found, decision, spec.answer, strict, tools.symbolic, evidence)


async def _several(
    found: FoundAnswer,
    last: Equivalence,
    gold: str,
    strict: Strictness,
    symbolic: SymbolicRung,
    evidence: dict[str, str | None],
) -> Verdict:
    """The verdict on boxes that stand apart: all say the same, or together they give the values of the gold."""
    agreed = True
    if strict.boxes == "agree":
        others = [await same_answer(gold, other, strict, symbolic) for other in found.others]
        agreed = all(other.same is last.same for other in others)
    if agreed and last.same is not False:
        return verdict(last.reason, answer=found.answer, **evidence)
    answers = [*reversed(found.others), found.answer]
    if is_list(gold) and not any(is_list(answer) for answer in answers):
        together = ", ".join(answers)
        joint = await same_answer(gold, together, strict, symbolic)
        if joint.same:
            return verdict(joint.reason, answer=together, **evidence)
    if agreed:
        return verdict(last.reason, answer=found.answer, **evidence)
    return verdict(Reason.CONFLICTING_ANSWERS, answer=found.answer, others=found.others[0], **evidence)


def fault(spec: MathSpec) -> str | None:
    """Why the gold answer can't be read; None when it can."""
    return gold_fault(spec.answer)


async def same_answer(gold: str, response: str, strict: Strictness, symbolic: SymbolicRung) -> Equivalence:
    """The decision of the whole ladder. Where it ends undecided, the reason is one of an UNVERIFIABLE verdict."""
    decision = decide(gold, response, strict)
    if decision.same is not None or decision.reason is Reason.GOLD_UNPARSABLE:
        return decision
    return await symbolic.decide(gold, response, strict)
