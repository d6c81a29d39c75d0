"""Asks workers for their figures without getting in the way of their leases, however many there are.

A call costs the driver a quarter of a millisecond: a thousand at once would hold up every report and every lease behind
them for a quarter of a second. So few are asked at once, and many are asked less often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from berry.pipeline.runtime.worker import Worker
from berry.pipeline.stages.leases.lease import Snapshot

AT_ONCE = 16
WORKERS_A_POLL = 100  # with more of them each is asked less often, so that asking costs the driver no more


def pause_s(least_s: float, workers: Sequence[Worker]) -> float:
    """Seconds between two polls of so many workers, `least_s` of few."""
    return least_s * max(1.0, len(workers) / WORKERS_A_POLL)


async def snapshots_of(workers: Sequence[Worker]) -> list[Snapshot]:
    """The figures of the workers that are up, in their order."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(worker: Worker) -> Snapshot | None:
        async with turn:
            return await worker.snapshot()

    asked = await asyncio.gather(*map(ask, workers))
    return [snapshot for snapshot in asked if snapshot is not None]
