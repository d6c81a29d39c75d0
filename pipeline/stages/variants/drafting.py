"""Has the engine draft problems: what it is asked, what counts as a draft, and rounds until enough have passed.

    messages ─► n replies ─► draft_of ─► not seen before, near no evaluation set ─► check ─► Attempt
       └──────────────── what is lacking, in the next round ◄──────────────────────────────────┘

The problem is quoted between marks drawn from its own text, so that it can't close its quotation and give orders.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from hashlib import blake2b

from berry.pipeline.config.sections.variants import Easier, Harder, Rephrase
from berry.pipeline.core.events import Completion
from berry.pipeline.engines.chat import PromptTooLong
from berry.pipeline.records import Message
from berry.pipeline.stages.variants.attempts import Attempt, Refusal
from berry.pipeline.stages.variants.context import Original, VariantContext
from berry.verifiers.extraction.extract import after_thinking

_DRAFT = re.compile(r"<problem>(.*?)</problem>", re.DOTALL | re.IGNORECASE)
_ORDERS = {
    "rephrase": "Write the problem again in other words. Keep every number, unit, name of a function, condition and "
    "the question exactly as they are meant; add nothing, leave nothing out, and do not solve it.",
    "harder": "Write a new problem of the same kind that is clearly harder: one more step, one more condition, or less "
    "convenient numbers. It must have exactly one answer, in the same form as this problem's. Do not solve it.",
    "easier": "Write a new problem of the same kind that is clearly easier: one step fewer, one condition fewer, or "
    "simpler numbers. It must have exactly one answer, in the same form as this problem's. Do not solve it.",
}

Check = Callable[[Attempt, str, Completion], Awaitable[Attempt]]
"""From an attempt with its draft, the variant's number and the reply it came in, to one that passed or was refused."""


def quoted(text: str) -> str:
    """A text between marks that it can't hold itself, so that a prompt shows where it ends."""
    mark = blake2b(text.encode(), digest_size=5).hexdigest()
    return f"<<{mark}\n{text}\n{mark}>>"


def messages_for(kind: str, text: str) -> list[Message]:
    """The chat that asks for one draft. Whatever the problem says, it is material."""
    content = (
        f"Here is a problem, between marks:\n{quoted(text)}\n\n{_ORDERS[kind]}\n"
        "Reply with the new problem between <problem> and </problem>, and nothing else."
    )
    return [{"role": "user", "content": content}]


def draft_of(reply: str) -> str | None:
    """What stands between the last pair of tags; None where there is none or nothing in it."""
    found = _DRAFT.findall(after_thinking(reply))
    return (found[-1].strip() or None) if found else None


async def rounds(
    context: VariantContext, original: Original, kind: Rephrase | Harder | Easier, check: Check
) -> list[Attempt]:
    """Up to `attempts` rounds of as many drafts as are still lacking; all that came of them."""
    name = kind.type
    done: list[Attempt] = []
    for number in range(kind.attempts):
        lacking = kind.count - sum(a.refusal is None for a in done)
        if lacking == 0:
            break
        seed = context.seed(original.problem.id, name, number)
        begun = Attempt(original.problem.id, name, provenance=context.provenance(seed))
        try:
            replies = await context.write(messages_for(name, original.question), n=lacking, seed=seed)
        except PromptTooLong as fault:
            return [*done, begun.refused(Refusal.PROMPT_TOO_LONG, str(fault))]
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[Attempt]] = []
            for i, reply in enumerate(replies):
                drafted = _drafted(context, original, begun, reply, context.provenance(seed + i, reply))
                label = f"{number * kind.count + i + 1}"
                tasks.append(group.create_task(_judged(drafted, label, reply, check)))
        done.extend(task.result() for task in tasks)
    return done


def _drafted(
    context: VariantContext, original: Original, begun: Attempt, reply: Completion, provenance: dict[str, object]
) -> Attempt:
    """The draft with whatever can be said against it before anything is sampled."""
    draft = draft_of(reply.text)
    attempt = Attempt(begun.original, begun.kind, text=reply.text if draft is None else draft, provenance=provenance)
    if draft is None:
        return attempt.refused(
            Refusal.NO_DRAFT, f"no <problem> … </problem> in the reply, which ended as {reply.finish}"
        )
    if not original.first_seen(draft):
        return attempt.refused(Refusal.DUPLICATE, "the original, or an earlier draft of it")
    if (near := context.decontamination.near(draft)) is not None:
        return attempt.refused(Refusal.EVALUATION_OVERLAP, str(near))
    return attempt


async def _judged(attempt: Attempt, number: str, reply: Completion, check: Check) -> Attempt:
    if attempt.refusal is not None:
        return attempt
    try:
        return await check(attempt, number, reply)
    except PromptTooLong as fault:
        return attempt.refused(Refusal.PROMPT_TOO_LONG, str(fault))
