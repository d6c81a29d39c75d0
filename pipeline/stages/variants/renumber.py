"""Makes `numbers` variants: word problems with other numbers, answered by programs that solve the original.

    text ─► number_slots (distinct numbers) ─► programs f(x1, x2, …) by the engine ─► those with f(old) = gold
         └─► draws of new numbers ──────────────────────────────────────────► the first on which enough of them agree
                                                                             and whose answer has the gold's form

An answer has the gold's form if it is whole, or positive, where the gold is. Problems whose gold is not one plain
number are left alone.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from berry.pipeline.config.sections.variants import Numbers
from berry.pipeline.engines.chat import PromptTooLong
from berry.pipeline.stages.variants import solver_programs
from berry.pipeline.stages.variants.attempts import Attempt, Refusal
from berry.pipeline.stages.variants.context import Original, VariantContext, candidate, finished
from berry.pipeline.stages.variants.number_slots import NumberSlot, as_gold, draw, filled, number_slots, plain_number
from berry.pipeline.stages.variants.solver_programs import Program
from berry.verifiers.specs.union import MathSpec


async def make(kind: Numbers, original: Original, context: VariantContext) -> list[Attempt]:
    """Puts other numbers into a problem, and has programs work out the new answer. What they disagree on is refused."""
    problem = original.problem
    begun = Attempt(problem.id, kind.type, provenance=context.provenance(context.seed(problem.id, kind.type)))
    if not isinstance(problem.verifier, MathSpec) or (gold := plain_number(problem.verifier.answer)) is None:
        return [begun.refused(Refusal.NOT_APPLICABLE, "the answer is not one number")]
    slots = number_slots(original.question)
    if not slots:
        return [begun.refused(Refusal.NOT_APPLICABLE, "the text has no number to change")]
    chance = random.Random(context.seed(problem.id, "numbers/draws"))
    draws = [values for _ in range(kind.draws) if (values := draw(slots, kind.change, chance)) is not None]
    if not draws:
        return [begun.refused(Refusal.IMPLAUSIBLE, "no new numbers keep the old ones' order")]
    solving: list[Program] = []
    written = 0
    for number in range(kind.attempts):
        seed = context.seed(problem.id, "numbers/programs", number)
        try:
            replies = await context.write(
                solver_programs.messages_for(original.question, slots), n=kind.programs, seed=seed
            )
        except PromptTooLong as fault:
            return [begun.refused(Refusal.PROMPT_TOO_LONG, str(fault))]
        written += len(replies)
        solving += await solver_programs.solving(replies, slots, gold, draws, context.checker, key=problem.id)
        if len(solving) >= kind.min_programs:
            break
    check = {"programs": written, "solve_original": len(solving), "different": len({p.source for p in solving})}
    begun = replace(begun, check=check)
    if len(solving) < kind.min_programs:
        return [begun.refused(Refusal.NO_PROGRAM, f"{len(solving)} of {written} programs solve the original")]
    return _variants(kind, original, context, begun, slots, gold, draws, solving)


def _variants(
    kind: Numbers,
    original: Original,
    context: VariantContext,
    begun: Attempt,
    slots: list[NumberSlot],
    gold: Fraction,
    draws: list[list[Decimal]],
    solving: list[Program],
) -> list[Attempt]:
    """The first `count` draws that hold. What was wrong with the others is listed once, where it left some lacking."""
    done: list[Attempt] = []
    refusals: Counter[Refusal] = Counter()
    for i, values in enumerate(draws):
        if sum(a.refusal is None for a in done) == kind.count:
            break
        answer, agreeing = solver_programs.agreed(solving, i)
        if answer is None or agreeing < max(kind.min_programs, kind.agreement * len(solving) - 1e-9):
            refusals[Refusal.PROGRAMS_DISAGREE] += 1
            continue
        if (gold.denominator == 1 and answer.denominator != 1) or (gold > 0 >= answer):
            refusals[Refusal.IMPLAUSIBLE] += 1
            continue
        text = filled(original.question, {s.value: format(v, "f") for s, v in zip(slots, values, strict=True)})
        attempt = replace(begun, text=text, check={**begun.check, "agree": agreeing, "program": solving[0].source})
        if not original.first_seen(text):
            done.append(attempt.refused(Refusal.DUPLICATE, "the original, or an earlier draw"))
        elif (near := context.decontamination.near(text)) is not None:
            done.append(attempt.refused(Refusal.EVALUATION_OVERLAP, str(near)))
        else:
            assert isinstance(original.problem.verifier, MathSpec)
            spec = original.problem.verifier.model_copy(update={"answer": as_gold(answer)})
            done.append(finished(replace(attempt, variant=candidate(original, kind.type, str(i + 1), text, spec))))
    if sum(a.refusal is None for a in done) < kind.count and refusals:
        reason = refusals.most_common(1)[0][0]
        counts = ", ".join(f"{n} {refusal}" for refusal, n in refusals.most_common())
        done.append(begun.refused(reason, f"of {len(draws)} draws: {counts}"))
    return done
