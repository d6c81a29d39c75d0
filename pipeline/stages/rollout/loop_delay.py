"""Measures how late an event loop wakes what sleeps on it: what runs too long on it holds up the engine's answers.

watch (a task beside the leases) ─► LoopDelay.quantile ─► Snapshot ─► metrics
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

POLL_S = 0.02  # between two looks
KEPT = 3000  # looks: the last minute


class LoopDelay:
    """The delays of the last minute, in seconds, a look each; a loop that was held up for longer missed looks, which
    count as what they would have seen."""

    def __init__(self) -> None:
        self._late_s: deque[float] = deque(maxlen=KEPT)

    def add(self, late_s: float) -> None:
        """A look that came so late, and those it kept from being made."""
        late_s = max(0.0, late_s)
        self._late_s.append(late_s)
        missed = min(KEPT, int(late_s / POLL_S))
        self._late_s.extend([late_s - n * POLL_S for n in range(1, missed + 1)])

    def quantile(self, share: float) -> float:
        """The delay that `share` of the looks did not exceed; 0 before the first."""
        found = sorted(self._late_s)
        return found[min(len(found) - 1, int(share * len(found)))] if found else 0.0

    async def watch(self, *, wanted: Callable[[], bool]) -> None:
        """Looks for as long as `wanted` says so."""
        clock = asyncio.get_running_loop()
        while wanted():
            due = clock.time() + POLL_S
            await asyncio.sleep(POLL_S)
            self.add(clock.time() - due)
