"""Compares responses as a chat template renders their text with the token ids that were sampled.

    messages + text ─► chat template ─► ids ─┐
    prompt ids + sampled ids ────────────────┴─► exact, or how many sampled tokens are lost or changed, and why

What the template adds behind the last sampled token (the end of a turn) is no loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from berry.pipeline.records import Message
from berry.pipeline.stages.export.base import Sampled

MOST = 0.001
"""Share of the sampled tokens that an export may lose or change without being told to."""
LOOKED_AT = 256
"""Responses of an export that are compared."""
_TAIL = 8  # tokens that a template may put behind a response


class Loss(StrEnum):
    """Why a rendered response has other tokens than the sampled one."""

    PROMPT = "prompt"  # the template begins the model's turn otherwise where its answer is known
    THINKING = "thinking"  # the template cuts what stands before </think>
    WHITE_SPACE = "white_space"  # the template strips white space at an end
    TOKENS = "tokens"  # the same text is tokenised otherwise, or a special token was left out of it


REMEDY = {
    Loss.PROMPT: "the chat template begins a turn otherwise in training than in generation",
    Loss.THINKING: "the chat template cuts thinking out of answers",
    Loss.WHITE_SPACE: "the chat template strips white space around answers",
    Loss.TOKENS: "the text is tokenised otherwise than it was sampled",
}


@dataclass(slots=True)
class Exactness:
    """What a comparison found: responses compared, those that come back exactly, sampled tokens of responses and those
    of them that are lost or changed, and the responses concerned by reason."""

    responses: int = 0
    exact: int = 0
    tokens: int = 0
    changed: int = 0
    losses: Counter[Loss] = field(default_factory=Counter)

    @property
    def exact_share(self) -> float | None:
        """None where nothing could be compared."""
        return self.exact / self.responses if self.responses else None

    @property
    def changed_share(self) -> float | None:
        """Of the sampled tokens; None where nothing could be compared."""
        return self.changed / self.tokens if self.tokens else None

    def add(self, sampled: Sampled, conversation: Callable[[Sequence[Message]], list[int]]) -> None:
        """Compares one response. `conversation`: a conversation's ids by the chat template."""
        rendered = conversation([*sampled.messages, {"role": "assistant", "content": sampled.text}])
        wanted = sampled.input_ids
        self.responses += 1
        self.tokens += len(sampled.token_ids)
        if rendered[: len(wanted)] == wanted:
            self.exact += 1
            return
        same = _common(wanted, rendered)
        self.losses[_why(sampled, rendered, same)] += 1
        start = max(same, len(sampled.prompt_ids))
        ends = max(_common(wanted[same:][::-1], rendered[same : len(rendered) - cut][::-1]) for cut in range(_TAIL + 1))
        self.changed += max(len(wanted) - start - ends, 1) if start < len(wanted) else 0

    def as_json(self) -> dict[str, Any]:
        return {
            "responses_compared": self.responses,
            "exact_share": self.exact_share,
            "changed_token_share": self.changed_share,
            "losses": {str(loss): count for loss, count in self.losses.items()},
        }

    def explain(self) -> str:
        """What is lost, most frequent first."""
        return "; ".join(f"{REMEDY[loss]} ({n} of {self.responses} responses)" for loss, n in self.losses.most_common())


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    for at, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return at
    return min(len(a), len(b))


def _why(sampled: Sampled, rendered: Sequence[int], same: int) -> Loss:
    shorter = len(rendered) < len(sampled.input_ids)
    if "</think>" in sampled.text and shorter:
        return Loss.THINKING
    if same < len(sampled.prompt_ids):
        return Loss.PROMPT
    if sampled.text != sampled.text.strip():
        return Loss.WHITE_SPACE
    return Loss.TOKENS
