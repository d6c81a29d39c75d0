"""Decides when a worker may begin another search: searches that are open come first.

    engine counters, searches open ─► admits ─► yes: the next problem begins        no: it waits

A new tree is begun only when the trees that grow leave places on the engine, and the cache has room: begun sooner, it
would push out the prefixes that others are about to branch from, and every branch would be computed again. While
verdicts are slow, trees wait without sequences, so more are begun, up to a limit that bounds memory.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.assignment.routing import order_of
from berry.pipeline.core.search import sizes
from berry.pipeline.engines.base import Counters

QUEUED_SHARE = (
    0.25  # sequences that may wait, as a share of those that run at once: the engine never runs dry between polls
)
FULL_CACHE_SHARE = 0.9  # of the KV cache, in use by running sequences
OPEN_ENGINES = 4  # times the engine's sequences that open searches may ask for
POLL_S = 0.02  # while it waits for room on the engine


def admits(counters: Counters, *, max_num_seqs: int, open_searches: int, limit: int, coming: int = 0) -> bool:
    """Whether one more search may begin, with `coming` sequences on their way to the engine. One is always open,
    however small the cache."""
    if open_searches == 0:
        return True
    if open_searches >= limit or counters.kv_usage >= FULL_CACHE_SHARE:
        return False
    return counters.running + counters.waiting + coming < max_num_seqs * (1 + QUEUED_SHARE)


@dataclass(slots=True)
class Admission:
    """Admits the searches of one worker in the order they came. `width`: sequences that a search asks for at its start,
    which it counts for until its requests have reached the engine."""

    counters: Callable[[], Counters]
    max_num_seqs: int
    limit: int
    width: int = 1
    open_searches: int = 0
    _unseen: int = 0  # searches admitted since the engine was given time to get their requests
    _line: asyncio.Lock = field(default_factory=asyncio.Lock)
    _left: asyncio.Event = field(default_factory=asyncio.Event)

    async def enter(self) -> None:
        """Waits until a search may begin."""
        async with self._line:
            if self._unseen and not self._admits(self._unseen * self.width):
                for _ in range(5):  # their first requests reach the engine
                    await asyncio.sleep(0)
                self._unseen = 0
            while not self._admits(0):
                await self._until_change()
            self.open_searches += 1
            self._unseen += 1

    def _admits(self, coming: int) -> bool:
        return admits(
            self.counters(),
            max_num_seqs=self.max_num_seqs,
            open_searches=self.open_searches,
            limit=self.limit,
            coming=coming,
        )

    async def _until_change(self) -> None:
        """Waits until a search has ended, or for a while in which the engine may have emptied."""
        self._left.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._left.wait()

    def leave(self) -> None:
        """Gives a place back: a search has ended."""
        self.open_searches -= 1
        self._left.set()


def leases_at_once(config: RunConfig, engine: str, max_num_seqs: int) -> int:
    """Leases that keep an engine of `max_num_seqs` sequences full. Those of problems that went on hold few."""
    alone = config.on_engine(engine)
    searches = searches_at_once(alone.rollout, max_num_seqs)
    goes_first = any(mode.name in order_of(config)[:1] for mode in alone.rollout.modes)
    full = config.storage.lease_problems if goes_first or not order_of(config) else 1
    return math.ceil(searches / full) + 1


def searches_at_once(rollout: Rollout, max_num_seqs: int) -> int:
    """The most searches to be open on an engine of `max_num_seqs` sequences. Admission opens fewer while the engine is
    full, and this many while trees wait for verdicts."""
    if rollout.problems_in_flight is not None:
        return rollout.problems_in_flight
    width = min(map(sizes.width, rollout.each_mode))  # of its modes, the one with the smallest trees has the most
    return max(2, math.ceil(OPEN_ENGINES * max_num_seqs / width) + 1)
