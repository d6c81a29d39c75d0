"""Defines what a server's language is made of, and the two ways in which a server can say no.

    SampleRequest ─► Dialect.body ─► POST Dialect.path ─► lines ─► Reply.feed ─► token ids, log-probabilities, end

A dialect is pure: it writes and reads JSON and opens no connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines import entropy
from berry.pipeline.records import Finish


class ServerFailedError(Exception):
    """A server could not finish a sample, for a reason of its own: the sample is drawn again, here or elsewhere."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One sample as a server is asked for it. `sample_id`: by which it can be aborted; `stop_ids`: delimiters that are
    control tokens, of which no text is seen; `stream`: tokens are wanted as they come."""

    sample_id: str
    prompt_ids: Sequence[int]
    until: Until
    sampling: Sampling
    seed: int
    max_tokens: int
    stop_ids: Sequence[int] = ()
    stream: bool = True


class Reply(Protocol):
    """What a server has said of one sample so far. `weights_version`: of the weights that gave it; empty where the
    server does not say."""

    token_ids: list[int]
    logprobs: list[float]
    cached_tokens: int
    weights_version: str

    def feed(self, line: str) -> bool:
        """Takes one line of the answer; True if it brought tokens or the end. Raises ServerFailedError where the server
        broke off, EngineError where it refuses the request itself or speaks another language."""
        ...

    @property
    def ended(self) -> bool: ...

    def finish(self, delimiters: Sequence[str], stop_ids: Sequence[int] = ()) -> Finish:
        """Why the sample ended."""
        ...

    def entropies(self, count: int) -> tuple[float, ...]:
        """Estimates in nats for the first `count` tokens (berry.pipeline.engines.entropy); empty if none were asked
        for."""
        ...


class Dialect(Protocol):
    """A server's language. `path`, `abort_path`: under the server's root, which is its URL without `/v1`; `abort_path`
    is None where closing the connection is all that ends a sample early."""

    @property
    def path(self) -> str: ...

    @property
    def abort_path(self) -> str | None: ...

    @property
    def streams_always(self) -> bool: ...

    def body(self, model: str, request: SampleRequest) -> dict[str, Any]: ...

    def reply(self) -> Reply: ...


def estimated_entropies(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Entropies in nats, one a row of log-probabilities of the likeliest tokens, likeliest first; empty where no row
    has two."""
    width = max((len(row) for row in rows), default=0)
    if width <= 1:
        return ()
    top = np.full((len(rows), width), -np.inf)
    for i, row in enumerate(rows):
        top[i, : len(row)] = row
    return tuple(entropy.estimate(np.full(len(rows), -np.inf), top).tolist())
