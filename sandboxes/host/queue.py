"""Queues jobs for slots: bounded, with a deadline for each, and fair between problems.

Jobs of one key form a line; the lines are served in turn, so a problem with a thousand candidates delays
the others by one job each, not by a thousand.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from itertools import islice


class Overloaded(Exception):
    """No slot could be had: the queue was full, or the deadline passed."""


class SlotQueue:
    """Hands out slot numbers 0 … slots-1, those of them that are open."""

    def __init__(self, slots: int, limit: int) -> None:
        self.open = slots
        self._free = deque(range(slots))
        self._closed: set[int] = set()
        self._limit = limit
        self._lines: OrderedDict[str, deque[asyncio.Future[int]]] = OrderedDict()
        self.waiting = 0

    @property
    def busy(self) -> bool:
        """Whether no slot is free."""
        return not self._free

    def next_free(self, n: int) -> list[int]:
        """The `n` slots that are handed out next, or as many as are free."""
        return list(islice(self._free, n))

    async def take(self, key: str, deadline_s: float | None) -> int:
        """Waits for a free slot and returns its number; raises Overloaded."""
        if self._free and not self.waiting:
            return self._free.popleft()
        if self.waiting >= self._limit:
            raise Overloaded(f"{self.waiting} jobs wait already")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[int] = loop.create_future()
        line = self._lines.setdefault(key, deque())
        line.append(waiter)
        self.waiting += 1
        timer = None if deadline_s is None else loop.call_later(deadline_s, _expire, waiter, deadline_s)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.give(waiter.result())  # handed over and cancelled in the same turn
            raise
        finally:
            self.waiting -= 1
            if timer is not None:
                timer.cancel()
            if waiter in line:
                line.remove(waiter)
                if not line:
                    self._lines.pop(key, None)

    def resize(self, slots: int) -> None:
        """Opens or closes slots so that 0 … slots-1 are open; a slot in use closes when it is given back."""
        self.open = slots
        self._closed |= {number for number in self._free if number >= slots}
        self._free = deque(number for number in self._free if number < slots)
        for number in sorted(number for number in self._closed if number < slots):
            self._closed.remove(number)
            self.give(number)

    def give(self, slot: int) -> None:
        """Returns a slot, to the next line's first waiter if any waits."""
        if slot >= self.open:
            self._closed.add(slot)
            return
        while self._lines:
            key, line = self._lines.popitem(last=False)
            waiter = line.popleft()
            if line:
                self._lines[key] = line
            if not waiter.done():
                waiter.set_result(slot)
                return
        self._free.append(slot)


def _expire(waiter: asyncio.Future[int], deadline_s: float) -> None:
    if not waiter.done():
        waiter.set_exception(Overloaded(f"no slot was free within {deadline_s} s"))
