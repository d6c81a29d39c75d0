"""Makes `harder` and `easier` variants by the engine, kept where a majority agrees and the pass rate has moved.

    harder  ⟺  majority share of the variant >= agreement  and  pass rate <= the original's - margin
    easier  ⟺  majority share of the variant >= agreement  and  pass rate >= the original's + margin

The pass rate of a variant is its majority's share, that of an original the share of its gold (of its majority, if it
has no gold), both among the replies that give an answer; a majority's share is of all replies. A harder problem is made
only of originals whose majority is right: an engine that can't solve the original is not believed about anything
harder. Only problems whose answer is a value can be varied so (`math`, `majority`): a program would need new tests.
"""

from __future__ import annotations

from dataclasses import replace

from berry.pipeline.config.sections.variants import Easier, Harder
from berry.pipeline.core.events import Completion
from berry.pipeline.engines.chat import PromptTooLong
from berry.pipeline.records import Problem
from berry.pipeline.stages.variants.answer_distribution import Spread, by_value, spreads
from berry.pipeline.stages.variants.attempts import Attempt, Refusal
from berry.pipeline.stages.variants.context import Original, VariantContext, candidate, finished
from berry.pipeline.stages.variants.drafting import rounds
from berry.verifiers.registry import fault as spec_fault
from berry.verifiers.specs.union import MajoritySpec, MathSpec, VerifierSpec


async def make(kind: Harder | Easier, original: Original, context: VariantContext) -> list[Attempt]:
    """Asks for a harder or easier problem and its answer, and checks both. Attempts that fail come back refused."""
    problem = original.problem
    begun = Attempt(problem.id, kind.type, provenance=context.provenance(context.seed(problem.id, kind.type)))
    if not by_value(problem):
        return [begun.refused(Refusal.NOT_APPLICABLE, f"a {problem.verifier.type} problem would need new tests")]
    if not original.question:
        return [begun.refused(Refusal.NOT_APPLICABLE, "the prompt has no message of the user's")]
    try:
        (first,) = await spreads(problem, [await context.original_answers(original)], context.checker)
    except PromptTooLong as fault:
        return [begun.refused(Refusal.PROMPT_TOO_LONG, str(fault))]
    if (reason := _hopeless(kind, first)) is not None:
        return [begun.refused(*reason)]

    async def check(attempt: Attempt, number: str, _: Completion) -> Attempt:
        asked = candidate(original, kind.type, number, attempt.text or "", _voting(problem), meta={})
        (spread,) = await spreads(asked, [await context.answers(asked, purpose="check")], context.checker)
        answer, share = spread.majority
        check = {
            "samples": len(spread.answers),
            "pseudo_label": answer,
            "pass_rate": spread.pass_rate,
            "pass_rate_original": first.pass_rate,
        }
        checked = replace(attempt, variant=asked, check=check)
        if answer is None or spread.pass_rate is None or share < kind.agreement:
            return checked.refused(Refusal.NO_CONSENSUS, f"the most frequent answer has {share:.0%} of the replies")
        assert first.pass_rate is not None
        moved = spread.pass_rate - first.pass_rate
        if (moved if isinstance(kind, Easier) else -moved) < kind.margin - 1e-9:
            return checked.refused(Refusal.PASS_RATE, f"{first.pass_rate:.0%} before, {spread.pass_rate:.0%} now")
        if kind.gold == "pseudo_label":
            verifier = _gold(problem, answer)
            if (fault := spec_fault(verifier)) is not None:
                return checked.refused(Refusal.UNVERIFIABLE, fault)
            checked = replace(checked, variant=asked.model_copy(update={"verifier": verifier}))
        return finished(checked)

    return await rounds(context, original, kind, check)


def _hopeless(kind: Harder | Easier, first: Spread) -> tuple[Refusal, str] | None:
    """Why no draft could pass, known before one is written."""
    answer, _ = first.majority
    if first.pass_rate is None:
        return Refusal.ORIGINAL_UNDECIDED, "no reply gives an answer, or none is the most frequent one"
    if isinstance(kind, Easier):
        if first.pass_rate + kind.margin > 1:
            return Refusal.PASS_RATE, f"the original's is {first.pass_rate:.0%}: it can't rise by the margin"
        return None
    if answer is None:
        return Refusal.ORIGINAL_UNDECIDED, "no answer is the most frequent one"
    if first.gold is not None and answer != first.gold:
        return Refusal.ORIGINAL_UNSOLVED, f"most replies say {answer!r}, not {first.gold!r}"
    if first.pass_rate - kind.margin < kind.agreement:
        return Refusal.PASS_RATE, f"the original's is {first.pass_rate:.0%}: less the margin it is below agreement"
    return None


def _voting(problem: Problem) -> MajoritySpec:
    spec = problem.verifier
    assert isinstance(spec, MathSpec | MajoritySpec)
    return spec if isinstance(spec, MajoritySpec) else MajoritySpec(extract=spec.extract, strictness=spec.strictness)


def _gold(problem: Problem, answer: str) -> VerifierSpec:
    spec = problem.verifier
    if isinstance(spec, MathSpec):
        return spec.model_copy(update={"answer": answer})
    assert isinstance(spec, MajoritySpec)
    return MathSpec(answer=answer, extract=spec.extract, strictness=spec.strictness)
