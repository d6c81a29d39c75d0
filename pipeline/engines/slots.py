"""Limits how many hold a slot at once, handing slots on in order of priority; asyncio, one event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable


class PrioritySlots:
    """At most `limit` holders; of those who wait, the lowest priority number comes next, then who came first.
    `changed` is told how many slots are taken."""

    def __init__(self, limit: int, changed: Callable[[int], None]) -> None:
        self.limit = limit
        self.taken = 0
        self._changed = changed
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(not future.done() for _, _, future in self._queue)

    async def acquire(self, priority: float) -> None:
        """Waits for a place; the lowest `priority` is first, and among equals who came first."""
        if self.taken < self.limit:
            self._take(1)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number += 1
        heapq.heappush(self._queue, (priority, self._number, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release()
            raise

    def release(self) -> None:
        while self._queue:
            _, _, future = heapq.heappop(self._queue)
            if not future.done():
                future.set_result(None)  # the slot passes on: the count stays
                return
        self._take(-1)

    def _take(self, by: int) -> None:
        self.taken += by
        self._changed(self.taken)
