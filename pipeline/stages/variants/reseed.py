"""Makes `reseed` variants: a problem at the same place of the same procedural source, drawn with another seed.

    (source, seed', place) ─► problem ─► its own answer passes its own verifier ─► pass rate in the band, if asked for

The seeds are far apart: reasoning-gym draws task i of seed s with s + i, so that the next seed would give the same
tasks, moved by one. Sources without a seed (files) have nothing to draw from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from berry.pipeline.config.sections.problems import ProblemsConfig
from berry.pipeline.config.sections.variants import Reseed
from berry.pipeline.core.seeds import digest
from berry.pipeline.engines.chat import PromptTooLong
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.sources import reader_of
from berry.pipeline.stages.variants.answer_distribution import Uncheckable, spreads
from berry.pipeline.stages.variants.attempts import Attempt, Refusal, question
from berry.pipeline.stages.variants.context import Original, VariantContext, candidate, finished
from berry.verifiers.checker import CheckRequest
from berry.verifiers.registry import fault as spec_fault
from berry.verifiers.specs.union import MathSpec, ReasoningGymSpec


async def make(kind: Reseed, original: Original, context: VariantContext) -> list[Attempt]:
    """Draws the generator's problem again with other seeds."""
    attempts: list[Attempt] = []
    for number in range(1, kind.count + 1):
        seed = another_seed(context.variants.seed, original.source, number)
        begun = Attempt(original.problem.id, kind.type, provenance=context.provenance(seed))
        drawn = reader_of(original.source).redraw(seed, original.index)
        if drawn is None:
            source = original.source.type
            return [begun.refused(Refusal.NOT_APPLICABLE, f"problems of a {source} are not drawn from a seed")]
        attempts.append(
            await _checked(kind, original, context, replace(begun, text=question(drawn)), drawn, str(number))
        )
    return attempts


def another_seed(seed: int, source: ProblemsConfig, number: int) -> int:
    """The seed of round `number` (from 1) for a source: 31 bits, the same for all problems of the source."""
    raw = digest("reseed", seed, source.model_dump_json(), number, size=4)
    return int.from_bytes(raw, "big") >> 1


async def _checked(
    kind: Reseed, original: Original, context: VariantContext, begun: Attempt, drawn: Problem, number: str
) -> Attempt:
    variant = candidate(
        original, kind.type, number, question(drawn), drawn.verifier, difficulty=drawn.difficulty, meta=dict(drawn.meta)
    )
    attempt = replace(begun, variant=variant)
    if not original.first_seen(question(drawn)):
        return attempt.refused(Refusal.DUPLICATE, "the original, or an earlier draw")
    if (near := context.decontamination.near(drawn.text)) is not None:
        return attempt.refused(Refusal.EVALUATION_OVERLAP, str(near))
    if (fault := spec_fault(drawn.verifier)) is not None:
        return attempt.refused(Refusal.UNVERIFIABLE, fault)
    check: dict[str, Any] = {"drawn": drawn.id}
    own = own_answer(drawn)
    if own is not None:
        verdict = await context.checker.check(CheckRequest(drawn.id, drawn.verifier, own, drawn.text))
        check["own_answer"] = str(verdict.reason)
        if not verdict.passed:
            return replace(attempt, check=check).refused(Refusal.OWN_ANSWER_FAILS, str(verdict.reason))
    if kind.pass_rate is not None:
        try:
            replies = await context.answers(variant, purpose="check")
            (spread,) = await spreads(variant, [replies], context.checker)
        except PromptTooLong as fault:
            return attempt.refused(Refusal.PROMPT_TOO_LONG, str(fault))
        except Uncheckable as fault:
            return attempt.refused(Refusal.UNVERIFIABLE, str(fault))
        check |= {"samples": len(replies), "pass_rate": spread.pass_rate}
        low, high = kind.pass_rate
        if spread.pass_rate is None:
            return replace(attempt, check=check).refused(Refusal.UNVERIFIABLE, "no reply gives an answer")
        if not low <= spread.pass_rate <= high:
            outside = f"{spread.pass_rate:.0%} is outside {low:.0%} to {high:.0%}"
            return replace(attempt, check=check).refused(Refusal.PASS_RATE, outside)
    return finished(replace(attempt, check=check))


def own_answer(problem: Problem) -> str | None:
    """The source's answer as a response; None where it gives none (a task with many solutions)."""
    match problem.verifier:
        case MathSpec(answer=answer):
            return f"\\boxed{{{answer}}}"
        case ReasoningGymSpec(entry=entry):
            return None if entry.get("answer") is None else f"<answer>{entry['answer']}</answer>"
        case _:
            return None
