"""Declares what the commands of a search are executed by, and what a finished search is handed on as.

CommandExecutor ─► Ports (engine, verifiers, scorer, shared budget)          SearchLoop ─► Grown ─► LeaseWorker
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from berry.pipeline.core.allocate import Need
from berry.pipeline.core.search.base import Search
from berry.pipeline.engines.base import Engine
from berry.pipeline.records import Problem
from berry.pipeline.stages.checking.question import Agreeing, Deciding, Verifying
from berry.sandboxes.sessions import SessionCall, SessionReply


class Scorer(Protocol):
    """A value model: the value in [0, 1] of the prefix made of prompt and response token ids. `logprob`: of the
    response, as the engine recorded it; None where it did not."""

    async def score(
        self, *, model: str, prompt_ids: list[int], response_ids: list[int], logprob: float | None = None
    ) -> float:
        """The value in [0, 1] of a response so far; `logprob`: the mean of its tokens, in nats. Raises EngineError
        where it can't be scored."""
        ...

    def versions(self) -> Mapping[str, str]:
        """Version of each model's weights."""
        ...


Calling = Callable[[SessionCall], Awaitable[SessionReply]]
"""A tool call made in the session of its path."""


class Share(Protocol):
    """Leaves granted from what other problems did not need. `answered`: a replayed search that has had its grant only
    says again what it needed, so that the others get what they would have got."""

    async def __call__(self, need: Need, *, answered: bool = False) -> int: ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a search's commands go."""

    engine: Engine
    verify: Verifying
    scorer: Scorer | None = None
    agree: Agreeing | None = None
    verify_here: Deciding | None = None
    share: Share | None = None
    end_scores: tuple[str, ...] = ()  # "prm", "orm": what a finished search is scored with
    call: Calling | None = None  # tools


@dataclass(slots=True)
class Grown:
    """A finished search and the texts of its leaves. `joined`: each of those texts is known to be that of the nodes on
    the leaf's path."""

    problem: Problem
    prompt_ids: list[int]
    search: Search
    responses: dict[str, str] = field(default_factory=dict)  # leaf -> text
    joined: bool = False
