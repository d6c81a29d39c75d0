"""Ends engines that hang: alive for Ray, and yet no token, no step and no answer for `storage.stall_s`.

    snapshots ─► SilenceTimer, one a worker ─► Worker.abort ─► its process ends ─► its leases are handed out again

Every sign of work on an engine starts its timer anew, however long its leases take.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from berry.pipeline.runtime.worker import Worker
from berry.pipeline.stages.leases.lease import Snapshot


@dataclass(slots=True)
class SilenceTimer:
    """Measures for how long one worker has shown no progress that it owes."""

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
    workers: Sequence[Worker],
    stall_s: float,
    note: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Watches `workers`, which may change, until cancelled; says which one it ends."""
    timers: dict[str, SilenceTimer] = {}
    while True:
        await asyncio.sleep(min(10.0, stall_s / 5))
        for worker in list(workers):
            snapshot, now = await worker.snapshot(), clock()
            timer = timers.setdefault(worker.worker_id, SilenceTimer(now))
            if not worker.is_up:
                timer.since = now
            silent_s = timer.silent_s(snapshot, now)
            if silent_s > stall_s:
                why = f"{worker.worker_id} made no progress for {silent_s:.0f} s (storage.stall_s {stall_s:g})"
                note(f"{why}: it is ended, and its leases are handed out again")
                timers[worker.worker_id] = SilenceTimer(now)
                await worker.abort(why)
