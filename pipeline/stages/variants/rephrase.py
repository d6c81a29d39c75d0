"""Makes `rephrase` variants: the same problem in the engine's words, kept where the engine answers both texts alike.

    kept  ⟺  argmax P = argmax Q  and  ½ Σ_a |P(a) - Q(a)| <= max_distance

P and Q are the answers' frequencies over `samples` replies to the original and to the variant. The verifier, with its
gold, goes over unchanged; a text that gives the gold away is refused. Degenerate cases: an original whose answers
scatter (no majority, or one below `min_majority`), or whose replies never pass where only verdicts can be compared,
has nothing to agree with and gets no rephrasing.
"""

from __future__ import annotations

import re
from dataclasses import replace

from berry.pipeline.config.sections.variants import Rephrase
from berry.pipeline.core.events import Completion
from berry.pipeline.engines.chat import PromptTooLong
from berry.pipeline.stages.variants.answer_distribution import Spread, Uncheckable, by_value, distance, spreads
from berry.pipeline.stages.variants.attempts import Attempt, Refusal
from berry.pipeline.stages.variants.context import Original, VariantContext, candidate, finished
from berry.pipeline.stages.variants.drafting import rounds
from berry.verifiers.specs.union import MathSpec


async def make(kind: Rephrase, original: Original, context: VariantContext) -> list[Attempt]:
    """Has a problem told in other words, and refuses what does not mean the same."""
    problem = original.problem
    begun = Attempt(problem.id, kind.type, provenance=context.provenance(context.seed(problem.id, kind.type)))
    if not original.question:
        return [begun.refused(Refusal.NOT_APPLICABLE, "the prompt has no message of the user's")]
    try:
        replies = await context.original_answers(original)
        (first,) = await spreads(problem, [replies], context.checker)
    except PromptTooLong as fault:
        return [begun.refused(Refusal.PROMPT_TOO_LONG, str(fault))]
    except Uncheckable as fault:
        return [begun.refused(Refusal.UNVERIFIABLE, str(fault))]
    if (why := _undecided(kind, first, known=by_value(problem))) is not None:
        return [begun.refused(Refusal.ORIGINAL_UNDECIDED, why)]

    async def check(attempt: Attempt, number: str, _: Completion) -> Attempt:
        text = attempt.text or ""
        variant = candidate(original, kind.type, number, text, problem.verifier, difficulty=problem.difficulty)
        if isinstance(problem.verifier, MathSpec) and leaks(problem.verifier.answer, original.question, text):
            return attempt.refused(Refusal.ANSWER_LEAKED, f"states the answer {problem.verifier.answer!r}")
        answered = await context.answers(variant, purpose="check")
        try:
            p, q = await spreads(problem, [replies, answered], context.checker)
        except Uncheckable as fault:
            return attempt.refused(Refusal.UNVERIFIABLE, str(fault))
        checked = replace(attempt, variant=variant, check=measured(p, q))
        if p.majority[0] != q.majority[0]:
            return checked.refused(Refusal.ANSWERS_DIFFER, f"mostly {q.majority[0]!r}, not {p.majority[0]!r}")
        if (apart := distance(p, q)) > kind.max_distance:
            return checked.refused(Refusal.DISTRIBUTION_DIFFERS, f"distance {apart:.2f} > {kind.max_distance}")
        return finished(checked)

    return await rounds(context, original, kind, check)


def _undecided(kind: Rephrase, spread: Spread, *, known: bool) -> str | None:
    """Why this spread is nothing to compare with."""
    answer, share = spread.majority
    if answer is None:
        return "no answer is the most frequent one"
    if share < kind.min_majority:
        return f"the most frequent answer has {share:.0%} of the replies, below min_majority"
    if not known and spread.pass_rate == 0:
        return "no reply passes, so that only failures could be compared"
    return None


def measured(original: Spread, variant: Spread) -> dict[str, object]:
    """What the check saw, for the variant's meta."""
    return {
        "samples": len(variant.answers),
        "distance": round(distance(original, variant), 4),
        "noise": round(original.noise, 4),
        "majority": variant.majority[0],
        "majority_share": variant.majority[1],
        "majority_share_original": original.majority[1],
        "pass_rate": variant.pass_rate,
        "pass_rate_original": original.pass_rate,
    }


def leaks(answer: str, before: str, after: str) -> bool:
    """Whether `after` states the answer and `before` does not, as whole words or numbers."""
    stated = re.compile(rf"(?<![\w.]){re.escape(answer.strip())}(?!\w|\.\d)")
    return bool(stated.search(after)) and not stated.search(before)
