"""Decides when a worker may begin another search: searches that are open come first.

    engine counters, searches open ─► admits ─► yes: the next problem begins        no: it waits

A new tree is begun only when the trees that grow leave places on the engine, and the cache has room: begun sooner, it
would push out the prefixes that others are about to branch from, and every branch would be computed again. While
verdicts are slow, trees wait without sequences, so more are begun, up to a limit that bounds memory.

Trees grow after they were begun, and may then fill the cache by themselves: what they will still need is learned from
the engine. Where it computes more than a little again for sequences that lost their places, fewer trees are open until
they fit; where it does not, one more is tried now and then.
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
COSTLY_SHARE = 0.1  # of what an engine computes, computed again after preemptions: less costs less than empty places
LOOK_TOKENS = 32  # that an engine computes for each of its sequences between two looks at that share


def admits(counters: Counters, *, max_num_seqs: int, open_searches: int, limit: int, coming: int = 0) -> bool:
    """Whether one more search may begin, with `coming` sequences on their way to the engine. One is always open,
    however small the cache."""
    if open_searches == 0:
        return True
    if open_searches >= limit or counters.kv_usage >= FULL_CACHE_SHARE:
        return False
    return counters.running + counters.waiting + coming < max_num_seqs * (1 + QUEUED_SHARE)


@dataclass(slots=True)
class OpenTrees:
    """How many open trees fit into the KV cache when they have grown; None as long as any number did.

    One fewer than were open where more than `COSTLY_SHARE` was computed again since the last look, one more where next
    to nothing was."""

    look_tokens: int
    fit: int | None = None
    _computed: int = 0  # tokens, at the last look
    _again: int = 0  # of these, after preemptions

    def look(self, counters: Counters, *, open_searches: int) -> None:
        """Learns from what the engine has computed since the last look, if that is enough to learn from."""
        computed = (
            counters.prompt_tokens - counters.cached_tokens + counters.generated_tokens + counters.preempted_tokens
        )
        if computed - self._computed < self.look_tokens:
            return
        share = (counters.preempted_tokens - self._again) / (computed - self._computed)
        self._computed, self._again = computed, counters.preempted_tokens
        if share > COSTLY_SHARE:
            self.fit = max(1, min(open_searches, self.fit or open_searches) - 1)
        elif self.fit is not None and share < COSTLY_SHARE / 5:
            self.fit += 1


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
    _trees: OpenTrees = field(init=False)

    def __post_init__(self) -> None:
        self._trees = OpenTrees(LOOK_TOKENS * self.max_num_seqs)

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
        counters = self.counters()
        self._trees.look(counters, open_searches=self.open_searches)
        return admits(
            counters,
            max_num_seqs=self.max_num_seqs,
            open_searches=self.open_searches,
            limit=min(self.limit, self._trees.fit or self.limit),
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
