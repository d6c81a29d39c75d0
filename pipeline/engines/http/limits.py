"""Keeps requests and tokens below what a hosted API allows a minute.

    take(amount) ─► waits until the last minute's sum leaves room ─► Taken ─► correct(what it really was)

A window that slides holds the limit over every minute, wherever the provider's own minutes begin; a bucket that refills
would let nearly twice as much through in the first. What is asked first goes first.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MINUTE_S = 60.0
SHORTEST_WAIT_S = 0.001


@dataclass(slots=True, eq=False)
class Taken:
    """An amount in the window since `at_s`. It may be corrected once it is known."""

    at_s: float
    amount: float


class MinuteLimit:
    """At most `per_minute` within any minute; None: no limit. An amount above it counts as all of it."""

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = per_minute
        self._clock = clock
        self._window: deque[Taken] = deque()
        self._turn = asyncio.Lock()

    async def take(self, amount: float = 1.0) -> Taken:
        """Waits for room, in the order of asking."""
        if self._limit is None:
            return Taken(0.0, amount)
        amount = min(amount, self._limit)
        async with self._turn:
            while (wait_s := self.wait_s(amount)) > 0:
                await asyncio.sleep(wait_s)
            taken = Taken(self._clock(), amount)
            self._window.append(taken)
            return taken

    def correct(self, taken: Taken, amount: float) -> None:
        """Says what an amount really was; those who wait see it when they look next."""
        taken.amount = amount

    def wait_s(self, amount: float) -> float:
        """Seconds until `amount` has room, as far as is known now; 0: it has."""
        now = self._clock()
        while self._window and self._window[0].at_s <= now - MINUTE_S:
            self._window.popleft()
        over = sum(one.amount for one in self._window) + amount - (self._limit or 0.0)
        if over <= 0:
            return 0.0
        for one in self._window:  # the oldest leaves the window first
            over -= one.amount
            if over <= 0:
                return max(one.at_s + MINUTE_S - now, SHORTEST_WAIT_S)
        return 0.0
