"""Defines the engine protocol: token ids in, completions out.

    Request(prompt token ids, n, until, sampling, seed, priority) ─► Engine.generate ─► Sample(index, Completion) …

Samples come one by one, as soon as each ends: a request for n children never waits for the slowest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from msgspec import Struct

from berry.pipeline.core.events import Completion, Sampling, Until
from berry.pipeline.records import FIRST_WEIGHTS, Message


class Request(Struct, frozen=True):
    """n continuations of one prefix. Sample i is drawn with seed `seed + i`, so callers space seeds by at least n.
    A lower `priority` runs first. `tree`: whose prefix it is, by which an engine of several servers keeps them where
    their cache is; empty: of none. `messages`: what the prompt's ids are, for an engine that takes no ids."""

    request_id: str
    prompt_ids: Sequence[int]
    n: int
    until: Until
    sampling: Sampling
    seed: int
    priority: float = 0.0
    tree: str = ""
    messages: Sequence[Message] | None = None


class Sample(Struct, frozen=True, gc=False):
    """One finished sample of a request: child `index`, from 0."""

    index: int
    completion: Completion


LogprobsMode = Literal["processed_logprobs", "raw_logprobs"]
"""In vLLM's words. `processed_logprobs`: of the distribution that the token was drawn from, after temperature, min-p,
top-k and top-p; at temperature 0, where nothing is drawn, of the model's own. `raw_logprobs`: of the model's own,
always."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine says of itself. `synthetic` is True where no model stands behind it: shown everywhere. `seamless`:
    the texts of segments join to the text of all their tokens, so that a path needs no decoding. `logprobs_mode`: which
    distribution its log-probabilities and entropies are of. `template_hash`, `template_args`: the chat template that
    prompts are rendered with, and its arguments. `text_alone`: it takes messages and gives texts of whole samples,
    without token ids; its completions hold NO_ID for each token that it counted."""

    engine_id: str
    model: str
    max_model_len: int
    max_num_seqs: int
    block_size: int
    weights_version: str = FIRST_WEIGHTS
    synthetic: bool = False
    seamless: bool = False
    logprobs_mode: LogprobsMode = "processed_logprobs"
    template_hash: str = ""
    template_args: dict[str, Any] = field(default_factory=dict)
    text_alone: bool = False
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals since start, in tokens and sequences; `running` and `waiting` are now; `kv_usage` is a share in [0, 1].

    `running_integral` is the time integral of `running` while work was queued or running (sequence-seconds over
    `busy_s`) up to `settled_s` of the engine's own clock, in seconds: the end of its last step, since what ran in a
    step is known at its end. Mean occupancy between two readings is the quotient of their differences.

    Of servers: `requests` that were sent, `retries` of them because the one before had failed. Of hosted APIs: how much
    of `generated_tokens` was `reasoning_tokens`, and what all cost by the prices of the configuration. With speculative
    decoding: tokens that were drafted, and those of them that the model accepted.

    `preemptions`: sequences that lost their place in the KV cache to others, and `preempted_tokens` that were computed
    again for it. A few cost less than the places that an engine leaves empty to avoid them. `late_tokens`: sampled
    after their sequence had ended, so in vain, as far as the engine's process handed them over: where text is watched
    for, a scheduler that plans ahead is a step or more further by the time that the end is seen.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    running: int = 0
    waiting: int = 0
    kv_usage: float = 0.0
    running_integral: float = 0.0
    busy_s: float = 0.0
    settled_s: float = 0.0
    requests: int = 0
    retries: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    preemptions: int = 0
    preempted_tokens: int = 0
    late_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ScoreCounters:
    """One reward model's totals since start. Tokens: `naive` as if every request had been read whole, `computed` what
    was; `padded` places of batches that held nothing. `waiting` requests are now."""

    requests: int = 0
    batches: int = 0
    naive_tokens: int = 0
    computed_tokens: int = 0
    padded_tokens: int = 0
    waiting: int = 0


@runtime_checkable
class Engine(Protocol):
    """One model on one set of devices. All methods but `generate` are cheap. What an engine can do beyond this it says
    by having the methods of `SwapsWeights` or `RecomputesLogprobs`."""

    async def start(self) -> None:
        """Load weights and warm up. Raises EngineError or ResourceError with the remedy."""
        ...

    @property
    def info(self) -> EngineInfo: ...

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a chat prompt, ready for the assistant's turn."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str: ...

    def encode_text(self, text: str) -> list[int]:
        """Token ids of text that is put into a response as it stands; control tokens in it are made inert."""
        ...

    def encode_result(self, result: str, *, ended_by: int | None = None) -> list[int]:
        """Token ids that end the model's turn after a tool call, say the result in a turn of the role `tool`, and begin
        the model's next turn. `ended_by`: the last token of a turn that the model may have ended itself, which is then
        not ended again. Raises ConfigError where the chat template can't say it, or would rewrite what is before
        it."""
        ...

    def encode_turn(self, role: str, content: str, last: int | None) -> list[int]:
        """Token ids that end the model's turn, unless `last`, the token that it wrote last, has done so, say `content`
        in a turn of `role`, and begin the model's next turn. Raises ConfigError as `encode_result` does, ValueError
        where the model ended its turn with another token than the template."""
        ...

    def generate(self, request: Request) -> AsyncIterator[Sample]:
        """Yields each sample when it ends. Raises EngineError when the engine is dead. Closing the iterator, or
        `cancel`, frees the request; cancelled samples come back with finish `cancelled` and their partial tokens
        only through `cancel`."""
        ...

    async def cancel(self, request_id: str) -> None: ...

    def counters(self) -> Counters: ...

    async def close(self) -> None: ...


@runtime_checkable
class SwapsWeights(Protocol):
    """An engine that takes new weights while it runs."""

    async def load_weights(self, folder: str, version: str) -> None:
        """Serve the weights in `folder`, of the same architecture, as `version` from now on. Running requests end on
        the old ones, later ones wait. Raises ConfigError, with the old ones serving on, for files that are not whole or
        do not fit; EngineError where the engine has ended."""
        ...


@runtime_checkable
class RecomputesLogprobs(Protocol):
    """An engine that computes the log-probabilities of a given text."""

    async def logprobs(self, prompt_ids: Sequence[int], response_ids: Sequence[int], sampling: Sampling) -> list[float]:
        """Log-probability in nats of each of `response_ids` after `prompt_ids` and those before it, in the distribution
        that `sampling` draws from, computed anew and past the prefix cache. Raises EngineError where the engine is
        dead, or can't for this sampling."""
        ...
