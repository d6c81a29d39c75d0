"""Hands out leases, takes reports, and goes on when a worker dies. Knows no Ray, engine or file.

    leases ─► Coordinator ─► Worker.run_lease ─► LeaseReport ─► Totals
                 └── a lost worker's leases go to the front of the queue again

There is no barrier: every worker always holds enough leases to stay full, and a report makes room for the next at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from pipeline.core import ledger
from pipeline.errors import EngineError
from pipeline.records import TokenLedger
from pipeline.stages.leases import Lease, LeaseReport, Snapshot


class WorkerLost(EngineError):
    """The worker died, or can't go on, with the lease unfinished; it may come back."""


class Worker(Protocol):
    @property
    def worker_id(self) -> str: ...

    @property
    def leases_at_once(self) -> int: ...

    async def run_lease(self, lease: Lease) -> LeaseReport:
        """Raises WorkerLost when the lease should be handed out again."""
        ...

    async def recover(self) -> None:
        """Waits until the worker can serve again. Raises EngineError if it never will."""
        ...

    async def snapshot(self) -> Snapshot | None: ...


@dataclass(slots=True)
class Totals:
    """What has been committed since the driver started, without what a resumed run had before."""

    leases: int = 0
    problems: int = 0
    solved: int = 0
    trajectories: int = 0
    kept: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    ledger: TokenLedger = field(default_factory=TokenLedger)
    retried_leases: int = 0
    lost_workers: int = 0

    def add(self, report: LeaseReport) -> None:
        self.leases += 1
        self.problems += report.problems
        self.solved += report.solved
        self.trajectories += report.trajectories
        self.kept += report.kept
        self.ledger = ledger.add([self.ledger, report.ledger])
        for reason, count in report.drops.items():
            self.drops[reason] = self.drops.get(reason, 0) + count


class Coordinator:
    MAX_ATTEMPTS = 5

    def __init__(self, leases: Iterator[Lease], workers: list[Worker]) -> None:
        self._leases = leases
        self._again: deque[Lease] = deque()
        self._workers = workers
        self._stopping = False
        self.totals = Totals()
        self.on_report: Callable[[LeaseReport], None] = lambda _: None

    def stop(self) -> None:
        """Hand out nothing more; leases in flight are finished."""
        self._stopping = True

    async def run(self) -> Totals:
        """Runs every lease to its commit. Raises the first error that retrying can't mend."""
        async with asyncio.TaskGroup() as group:
            lost = {worker.worker_id: asyncio.Event() for worker in self._workers}
            for place in range(max((w.leases_at_once for w in self._workers), default=0)):
                for worker in self._workers:  # dealt in turn, so that a short run keeps every engine busy
                    if place < worker.leases_at_once:
                        group.create_task(self._serve(worker, lost[worker.worker_id]))
        return self.totals

    def _next(self) -> Lease | None:
        if self._again:
            return self._again.popleft()
        return None if self._stopping else next(self._leases, None)

    async def _serve(self, worker: Worker, lost: asyncio.Event) -> None:
        """One place for a lease on one worker. The first place to see the worker die waits for its return; the others
        wait for that one."""
        while (lease := self._next()) is not None:
            try:
                report = await worker.run_lease(lease)
            except WorkerLost as error:
                if lease.attempt + 1 >= self.MAX_ATTEMPTS:
                    raise EngineError(
                        f"lease {lease.number} failed {lease.attempt + 1} times; the last time: {error}"
                    ) from error
                self._again.append(replace(lease, attempt=lease.attempt + 1))
                self.totals.retried_leases += 1
                if not lost.is_set():
                    lost.set()
                    self.totals.lost_workers += 1
                    try:
                        await worker.recover()
                    finally:
                        lost.clear()
                else:
                    while lost.is_set():
                        await asyncio.sleep(0.2)
                continue
            self.totals.add(report)
            self.on_report(report)
