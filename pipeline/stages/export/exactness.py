"""Compares responses as a chat template renders their text with the token ids that were sampled.

    messages + text ─► chat template ─► ids ─┐
    prompt ids + sampled ids ────────────────┴─► RoundTrip ─► Exactness: shares, reasons, which option avoids them

What the template adds behind the token with which the model ended its turn is no loss.
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
COMPARED = 1024
"""Responses of an export that are compared, at least where it has so many; at most twice as many."""
_TAIL = 8  # tokens that a template may put behind a response


class Loss(StrEnum):
    """Why a rendered response has other tokens than the sampled one."""

    PROMPT = "prompt"  # the template begins the model's turn otherwise where its answer is known
    THINKING = "thinking"  # the template cuts what stands before </think>
    WHITE_SPACE = "white_space"  # the template strips white space at an end
    END = "end"  # the template does not end the model's turn with the token with which the model ended it
    TURN = "turn"  # the template ends a turn that the model had not ended
    GIVEN = "given"  # what a tool or the environment said stands otherwise in the conversation
    TOKENS = "tokens"  # the same text is tokenised otherwise, or a special token was left out of it


EXPLAINED = {
    Loss.PROMPT: "the chat template begins a turn otherwise in training than in generation",
    Loss.THINKING: "the chat template cuts thinking out of answers",
    Loss.WHITE_SPACE: "the chat template strips white space around answers",
    Loss.END: "the chat template leaves out the token that ends an answer",
    Loss.TURN: "the chat template ends answers that the model had not ended",
    Loss.GIVEN: "the chat template writes what tools or the environment said otherwise than the model was given it",
    Loss.TOKENS: "the text is tokenised otherwise than it was sampled",
}
AVOIDED = {
    Loss.TURN: "a pruning rule {type: verdict} or {type: length} drops answers that were cut short",
}
"""What avoids a loss, where it is not `--tokens`, which avoids every other one."""


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One response: its sampled tokens, those of them that are lost or changed, and why (None: it comes back)."""

    tokens: int
    changed: int
    loss: Loss | None


@dataclass(slots=True)
class Exactness:
    """What the comparison of an export's responses found. Of many, every second, fourth … one is compared, all over the
    export."""

    found: list[RoundTrip] = field(default_factory=list)
    seen: int = 0
    stride: int = 1

    def add(self, sampled: Sampled, conversation: Callable[[Sequence[Message]], list[int]]) -> None:
        """Compares one response, if it is its turn. `conversation`: a conversation's ids by the chat template."""
        number, self.seen = self.seen, self.seen + 1
        if number % self.stride:
            return
        self.found.append(compare(sampled, conversation))
        if len(self.found) >= 2 * COMPARED:
            del self.found[1::2]
            self.stride *= 2

    @property
    def responses(self) -> int:
        """How many responses were compared."""
        return len(self.found)

    @property
    def exact(self) -> int:
        """How many of them come back exactly."""
        return sum(one.loss is None for one in self.found)

    @property
    def losses(self) -> Counter[Loss]:
        """Responses that do not come back, by reason."""
        return Counter(one.loss for one in self.found if one.loss is not None)

    @property
    def exact_share(self) -> float | None:
        """None where nothing could be compared."""
        return self.exact / self.responses if self.found else None

    @property
    def changed_share(self) -> float | None:
        """Share of the sampled tokens that are changed, in [0, 1]; None where nothing could be compared."""
        tokens = sum(one.tokens for one in self.found)
        return sum(one.changed for one in self.found) / tokens if tokens else None

    def as_json(self) -> dict[str, Any]:
        """The counts and shares for the export's card; a share is null where nothing was compared."""
        return {
            "responses": self.seen,
            "responses_compared": self.responses,
            "exact_share": self.exact_share,
            "changed_token_share": self.changed_share,
            "losses": {str(loss): count for loss, count in self.losses.items()},
        }

    def explain(self) -> str:
        """What is lost, most frequent first."""
        parts = [f"{EXPLAINED[loss]} ({n} of {self.responses} responses)" for loss, n in self.losses.most_common()]
        return "; ".join(parts)

    def remedy(self) -> str:
        """Which options avoid what is lost."""
        others = [AVOIDED[loss] for loss in self.losses if loss in AVOIDED]
        return "; ".join([*(["give --tokens for the sampled ids"] if set(self.losses) - set(AVOIDED) else []), *others])


def compare(sampled: Sampled, conversation: Callable[[Sequence[Message]], list[int]]) -> RoundTrip:
    """Compares the sampled ids of a prompt and its response with those of the rendered conversation."""

    def render(text: str) -> list[int]:
        return conversation([*sampled.messages, {"role": "assistant", "content": text}])

    turns, wanted = sampled.turns, list(sampled.input_ids)
    rendered = render(sampled.text) if turns is None else conversation([*sampled.messages, *turns])
    tokens = sum(sampled.loss_mask)
    if rendered[: len(wanted)] == wanted:
        return RoundTrip(tokens, 0, None if sampled.ended or len(rendered) == len(wanted) else Loss.TURN)
    same = _common(wanted, rendered)
    start = max(same, len(sampled.prompt_ids))
    ends = max(_common(wanted[same:][::-1], rendered[same : len(rendered) - cut][::-1]) for cut in range(_TAIL + 1))
    changed = max(sum(sampled.loss_mask[start : len(wanted) - ends]), 1) if start < len(wanted) else 0
    return RoundTrip(tokens, changed, _why(sampled, rendered, same, render))


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    for at, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return at
    return min(len(a), len(b))


def _why(sampled: Sampled, rendered: list[int], same: int, render: Callable[[str], list[int]]) -> Loss:
    """A template cuts what makes no difference to it."""
    if sampled.turns is not None and len(sampled.prompt_ids) <= same < len(sampled.input_ids) - 1:
        return Loss.TOKENS if sampled.loss_mask[same] else Loss.GIVEN
    thought, _, said = sampled.text.rpartition("</think>")
    if thought and render(said) == rendered:
        return Loss.THINKING
    if same < len(sampled.prompt_ids):
        return Loss.PROMPT
    if sampled.text != sampled.text.strip() and render(sampled.text.strip()) == rendered:
        return Loss.WHITE_SPACE
    if sampled.ended and same == len(sampled.input_ids) - 1:
        return Loss.END
    return Loss.TOKENS
