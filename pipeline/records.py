"""Defines the records of a run: what flows between stages and what the Parquet files hold (schema.py).

Problem ─► Node (a segment of a tree: the token delta alone) ─► Trajectory (a leaf and its path) ─► Kept
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from berry.verifiers.base import UNANSWERED, Outcome, Verdict
from berry.verifiers.specs.union import VerifierSpec

Message = dict[str, str]  # {"role": …, "content": …}
LONGEST_ID = 256  # characters of a problem's id
ASSISTANT = "assistant"  # the role of what the model sampled
FIRST_WEIGHTS = "v0"  # the version of the weights that the configuration names, where a server gives no other name
NO_ID = -1  # stands for a token that a hosted API counted and gave no id of


class Problem(BaseModel):
    """One task with a way to check its answers. The same object in files, configs and code (design, section 7)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1, max_length=LONGEST_ID)
    prompt: str | tuple[Message, ...]
    verifier: VerifierSpec
    source: str = ""
    variant_of: str | None = None
    difficulty: float | None = None
    meta: dict[str, Any] = Field(default_factory=dict)
    _template_args: dict[str, Any] = PrivateAttr(default_factory=dict)

    @field_validator("prompt")
    @classmethod
    def _not_empty(cls, prompt: str | tuple[Message, ...]) -> str | tuple[Message, ...]:
        if not prompt:
            raise ValueError("is empty: give the problem's text, or chat messages")
        if isinstance(prompt, tuple):
            for message in prompt:
                if set(message) != {"role", "content"}:
                    raise ValueError('chat messages need exactly the keys "role" and "content"')
        return prompt

    @property
    def messages(self) -> list[Message]:
        """The prompt as chat messages."""
        if isinstance(self.prompt, str):
            return [{"role": "user", "content": self.prompt}]
        return [dict(m) for m in self.prompt]

    @property
    def text(self) -> str:
        """All that is asked, in one piece: every message but a system prompt's."""
        if isinstance(self.prompt, str):
            return self.prompt
        return "\n\n".join(message["content"] for message in self.prompt if message["role"] != "system")

    @property
    def template_args(self) -> dict[str, Any]:
        """What its source gives the chat template, beside the engine's own arguments; no part of a problem's row."""
        return self._template_args

    def with_template_args(self, arguments: dict[str, Any]) -> Problem:
        """The problem whose chat template is given these arguments."""
        copy = self.model_copy()
        copy._template_args = dict(arguments)
        return copy

    def renamed(self, problem_id: str, *, variant_of: str) -> Problem:
        """The problem under another id, as one of the family of `variant_of`."""
        return self.model_copy(update={"id": problem_id, "variant_of": variant_of})

    def with_suffix(self, suffix: str) -> Problem:
        """The problem with `suffix` put after what is asked: after the last message of a chat."""
        if isinstance(self.prompt, str):
            return self.model_copy(update={"prompt": self.prompt + suffix})
        *before, last = self.prompt
        return self.model_copy(update={"prompt": (*before, {**last, "content": last["content"] + suffix})})

    def messages_under(self, system_prompt: str | None) -> list[Message]:
        """The chat messages that a model is given: `system_prompt` first, unless the prompt begins with its own."""
        messages = self.messages
        if system_prompt and messages[0]["role"] != "system":
            return [{"role": "system", "content": system_prompt}, *messages]
        return messages


class Finish(StrEnum):
    """Why a segment ended."""

    STEP = "step"  # a step boundary: the trajectory goes on
    STOP = "stop"  # the model ended its answer
    LENGTH = "length"  # out of token budget or context
    CANCELLED = "cancelled"
    CALL = "call"  # a tool call without a result: the trajectory ends


class ValueKind(StrEnum):
    """What a stored value is."""

    ESTIMATE = "estimate"  # an unbiased estimate of the chance that a continuation passes
    SURVIVORS = "survivors"  # the rate among branches that were not given up: too high where the good ones were kept
    ADAPTIVE = "adaptive"  # null: verdicts decided what was sampled, and no unbiased estimate is known
    POOLED = "pooled"  # of an earlier version: the plain share of all leaves below, however they were drawn


class Node(Struct, gc=False):
    """A segment of one problem's tree; token ids are the delta from the parent, so a shared prefix is stored once.

    `logprobs` in nats, one a token: with what probability it was drawn (the file's mark `logprobs` names the
    distribution); `logprob_sum` over the delta; `mean_entropy` in nats a token; each None if not measured. `sample`:
    which of its parent's samples it is, -1 for the rest of a segment that was cut in two; `weight`: one over the chance
    with which it was kept once sampled (core/tree). `value` … `reached`: the value of the prefix up to and with the
    node (core/values): an estimate of the chance that a continuation passes, its 95% interval, the independent
    continuations behind it, the weight `value_mass` of the training label value / value_mass, what kind of figure it
    is, and whether any continuation passed.
    `prm`: what a PRM says of the path up to and with the node; `inner_prm`: the same at each step that ends inside it.
    `messages`, `template_args`: of a root, the chat messages that its tokens are, as they were sampled under, and, as
    JSON, what the chat template was given beside them. `mode`: the one that its problem was searched in. `model`: the
    one that grew its tree; None before schema version 10. `problem`: of a root, as JSON, the problem as it was asked;
    None before schema version 11. `role`: who speaks; what a tool said was given, not sampled,
    and has no log-probabilities. `call_outcome`, `call_ms`, `nondeterministic`: of such a node, how its call ended and
    how long it took, and whether calls that were made again to rebuild its session said something else
    (core/events.Called).
    """

    problem_id: str
    node_id: str
    parent_id: str | None
    depth: int
    token_ids: Sequence[int]
    text: str
    logprob_sum: float | None
    mean_entropy: float | None
    finish: Finish
    prm: float | None = None
    engine_id: str = ""
    weights_version: str = ""
    seed: int = 0
    logprobs: Sequence[float] | None = None
    sample: int | None = None
    weight: float | None = None
    value: float | None = None
    value_low: float | None = None
    value_high: float | None = None
    value_n: int | None = None
    value_mass: float | None = None
    value_kind: ValueKind | None = None
    reached: bool | None = None
    messages: list[Message] | None = None
    role: str = ASSISTANT
    call_outcome: str | None = None
    call_ms: float | None = None
    nondeterministic: bool | None = None
    mode: str | None = None
    template_args: str | None = None
    inner_prm: Sequence[float | None] | None = None
    model: str | None = None
    problem: str | None = None


class ResponseSegment(NamedTuple):
    """A stretch of a response that one author wrote: `tokens` from the offset `start`. `trainable`: the model sampled
    it, so that a trainer may learn it."""

    start: int
    tokens: int
    role: str
    weights_version: str
    engine_id: str
    trainable: bool


class DropReason(StrEnum):
    """Why a trajectory is not among the kept ones. It stays in `trajectories/` all the same."""

    WRONG = "wrong"  # a verifier failed it
    UNVERIFIABLE = "unverifiable"  # the check could not be made
    NO_ANSWER = "no_answer"  # nothing in the wanted form: not a wrong answer
    TRUNCATED = "truncated"  # out of tokens before an answer
    FORMAT = "format"
    LENGTH = "length"  # too short or too long
    LOW_ORM = "low_orm"
    LOW_PRM = "low_prm"
    DUPLICATE = "duplicate"
    OVER_QUOTA = "over_quota"  # good, but the problem has enough
    NOT_DIVERSE = "not_diverse"
    DIFFICULTY = "difficulty"  # the problem's pass rate is outside the wanted band
    NOT_SHORTEST = "not_shortest"
    CUT_IN_LOOP = "cut_in_loop"  # pruned while it was growing
    CANCELLED = "cancelled"
    EMPTY = "empty"  # the engine returned no token
    PROMPT_TOO_LONG = "prompt_too_long"
    ENGINE_FAILED = "engine_failed"
    QUARANTINED = "quarantined"  # its problem killed its worker three times
    TOO_MANY_CALLS = "too_many_calls"  # one tool call more than a trajectory may have
    RESULT_TOO_LONG = "result_too_long"  # a tool's result, after which no token had room
    TOOL_FAILED = "tool_failed"  # a tool call that could not be made
    TOO_MANY_TURNS = "too_many_turns"  # its episode was not over when the model had had all its turns
    TURN_FAILED = "turn_failed"  # what the environment said can't follow what the model wrote
    ANNOTATION = "annotation"  # a completion of a stored prefix, drawn only to label it


class Ending(StrEnum):
    """How a trajectory came out. Only `pass` and `wrong` tell right from wrong; pass rates count these two alone."""

    PASS = "pass"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"  # nothing in the wanted form
    TRUNCATED = "truncated"  # out of tokens, and not checked
    UNVERIFIABLE = "unverifiable"  # the check could not be made
    UNCHECKED = "unchecked"  # cut, cancelled, empty or failed before there was something to check


def ending(verdict: str | None, reason: str | None, finish: str) -> Ending:
    """Tells how a trajectory came out, from its row's `verdict`, `verdict_reason` and `finish`."""
    if verdict is None:
        return Ending.TRUNCATED if finish == Finish.LENGTH else Ending.UNCHECKED
    if verdict == Outcome.UNVERIFIABLE:
        return Ending.UNVERIFIABLE
    if reason in UNANSWERED:
        return Ending.NO_ANSWER
    return Ending.PASS if verdict == Outcome.PASS else Ending.WRONG


class Trajectory(Struct, gc=False):
    """A leaf and its path from the root. Token counts exclude the prompt; `n_new_tokens` excludes what an earlier
    sibling already generated. `mode`: the one that its problem was searched in; None where the run has none. `model`:
    the one that answered; None before schema version 10."""

    trajectory_id: str
    problem_id: str
    leaf: str
    path: tuple[str, ...]
    response: str
    verdict: Verdict | None
    n_tokens: int
    n_new_tokens: int
    orm: float | None = None
    prm_min: float | None = None
    prm_last: float | None = None
    prm_prod: float | None = None
    finish: Finish = Finish.STOP
    kept: bool = False
    drop_reason: DropReason | None = None
    mode: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class TokenLedger:
    """Where one problem's tokens went, in tokens. `cached` and `recomputed` split the prompt tokens that the engine
    was asked to read: read from the prefix cache, or computed again."""

    prompt: int = 0
    cached: int = 0
    recomputed: int = 0
    generated: int = 0
    cancelled: int = 0
    kept: int = 0
    extra: dict[str, int] = field(default_factory=dict)
