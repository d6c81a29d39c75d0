"""Finds engines that hang: alive for Ray, and yet no token, no step and no answer for `storage.stall_s`.

snapshots ─► Progress, one a worker ─► Worker.give_up ─► its process ends ─► its leases are handed out again

A lease's deadline so moves on with every sign of work on its engine, however long the lease takes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from berry.pipeline.runtime.worker import Stoppable
from berry.pipeline.stages.leases.lease import Snapshot


@dataclass(slots=True)
class Progress:
    """Of one worker."""

    since: float
    _seen: tuple[int, ...] | None = field(default=None)

    def silent_s(self, snapshot: Snapshot | None, now: float) -> float:
        """Seconds for which it should have done something and did not. An engine without work is not silent, nor one
        whose searches all wait for verdicts."""
        if snapshot is not None:
            counters, gauges = snapshot.counters, snapshot.gauges
            seen = (counters.prompt_tokens, counters.generated_tokens, gauges.leaves, gauges.verified, gauges.searching)
            owes = counters.running + counters.waiting > 0 or (gauges.searching > 0 and gauges.verifying == 0)
            if seen != self._seen or not owes:
                self._seen, self.since = seen, now
        return now - self.since


async def watch(
    workers: Sequence[Stoppable],
    stall_s: float,
    note: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """For ever. `workers` may change."""
    progress: dict[str, Progress] = {}
    while True:
        await asyncio.sleep(min(10.0, stall_s / 5))
        for worker in list(workers):
            snapshot, now = await worker.snapshot(), clock()
            mine = progress.setdefault(worker.worker_id, Progress(now))
            if not worker.is_up:
                mine.since = now
            silent_s = mine.silent_s(snapshot, now)
            if silent_s > stall_s:
                why = f"{worker.worker_id} made no progress for {silent_s:.0f} s (storage.stall_s {stall_s:g})"
                note(f"{why}: it is ended, and its leases are handed out again")
                progress[worker.worker_id] = Progress(now)
                await worker.give_up(why)
