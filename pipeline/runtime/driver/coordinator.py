"""Hands out leases, takes reports, and goes on when a worker dies. Knows no Ray, engine or file.

    leases ─► Coordinator ─► Worker.run_lease ─► LeaseReport ─► Totals
                 └── a lost worker's leases go to the front of the queue again

There is no barrier: every worker always holds enough leases to stay full, and a report makes room for the next at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from berry.pipeline.errors import EngineError, first_error
from berry.pipeline.runtime.driver.totals import Totals
from berry.pipeline.runtime.worker import Worker, WorkerLost
from berry.pipeline.stages.leases.lease import Lease, LeaseReport


class Coordinator:
    """Leases that lost their worker twice are suspects: they run last, one a node and alone, so that the problem
    that kills its worker is found (`stages.leases`), and no other is blamed."""

    GROUP_ATTEMPTS = 2
    ALONE_ATTEMPTS = 4  # beyond one for each problem of the lease

    def __init__(self, leases: Iterator[Lease], workers: list[Worker]) -> None:
        self._leases = leases
        self._again: deque[Lease] = deque()
        self._suspects: deque[Lease] = deque()
        self._workers = workers
        self._gone: set[str] = set()
        self._down: set[str] = set()  # being waited for
        self._away: set[str] = set()  # not waited for any longer: the work was done without them
        self._group: asyncio.TaskGroup | None = None
        self._out_of_work = asyncio.Event()
        self._in_flight = 0
        self._changed = asyncio.Condition()
        self._stopping = False
        self.totals = Totals()
        self.on_report: Callable[[LeaseReport], None] = lambda _: None
        self.more: Callable[[], bool] = lambda: False  # whether leases may come that are not there yet

    def stop(self) -> None:
        """Hand out nothing more; leases in flight are finished."""
        self._stopping = True

    async def wake(self) -> None:
        """There may be a lease now, or an end of them."""
        async with self._changed:
            self._changed.notify_all()

    def fence(self, worker_id: str) -> bool:
        """No further lease for this worker. False, and nothing happens, if it is the last one that works."""
        left = {w.worker_id for w in self._workers} - self._gone - {worker_id}
        if left:
            self._gone.add(worker_id)
        return bool(left)

    def join(self, worker: Worker) -> None:
        """A worker that came while the run was going on. Nothing where all leases are handed out."""
        if worker not in self._workers:
            self._workers.append(worker)
        if self._group is not None and not self._out_of_work.is_set():
            recovering = asyncio.Lock()
            for _ in range(worker.leases_at_once):
                self._group.create_task(self._serve(worker, recovering))

    async def run(self) -> Totals:
        """Runs every lease to its commit. Raises the first error that retrying can't mend."""
        async with asyncio.TaskGroup() as self._group:
            lost = {worker.worker_id: asyncio.Lock() for worker in self._workers}
            for place in range(max((w.leases_at_once for w in self._workers), default=0)):
                for worker in self._workers:  # dealt in turn, so that a short run keeps every engine busy
                    if place < worker.leases_at_once:
                        self._group.create_task(self._serve(worker, lost[worker.worker_id]))
        self._group = None
        self._out_of_work.clear()
        await self._run_suspects()
        return self.totals

    async def _next(self, worker: Worker) -> Lease | None:
        """The next lease for it, when it is up; None when there is none left and none that may come back."""
        async with self._changed:
            while not self._stopping and worker.worker_id not in self._gone and not self._out_of_work.is_set():
                if worker.worker_id not in self._down:
                    lease = self._again.popleft() if self._again else next(self._leases, None)
                    if lease is not None:
                        self._in_flight += 1
                        return lease
                    if not self._in_flight and not self.more():
                        self._out_of_work.set()
                        self._changed.notify_all()
                        break
                await self._changed.wait()
            return None

    async def _serve(self, worker: Worker, recovering: asyncio.Lock) -> None:
        """One place for a lease on one worker."""
        while (lease := await self._next(worker)) is not None:
            lost = False
            try:
                self._add(await worker.run_lease(lease))
            except WorkerLost:
                self._hand_back(lease)
                self._down.add(worker.worker_id)
                lost = True
            finally:
                async with self._changed:  # before the worker is waited for: others take the lease meanwhile
                    self._in_flight -= 1
                    self._changed.notify_all()
            if lost:
                await self._recover(worker, recovering)

    def _add(self, report: LeaseReport) -> None:
        self.totals.add(report)
        if not report.late:
            self.on_report(report)

    def _hand_back(self, lease: Lease) -> None:
        again = replace(lease, attempt=lease.attempt + 1)
        self.totals.retried_leases += 1
        if again.attempt < self.GROUP_ATTEMPTS:
            self._again.append(again)
        else:
            self._suspects.append(again)

    async def _recover(self, worker: Worker, recovering: asyncio.Lock) -> None:
        """The first place to see its worker die waits for the return, or for the end of the work; the others wait for
        that one."""
        waited = recovering.locked()
        async with recovering:
            if not waited:
                self.totals.lost_workers += 1
                await self._until_back(worker)
            self._down.discard(worker.worker_id)
        await self.wake()

    async def _until_back(self, worker: Worker) -> None:
        returning = asyncio.ensure_future(worker.recover())
        ending = asyncio.ensure_future(self._out_of_work.wait())
        try:
            await asyncio.wait({returning, ending}, return_when=asyncio.FIRST_COMPLETED)
            if returning.done():
                returning.result()
                self._away.discard(worker.worker_id)
            else:
                self._away.add(worker.worker_id)
        except EngineError:
            self._gone.add(worker.worker_id)
            if len(self._gone) == len(self._workers):
                raise
        finally:
            for task in (returning, ending):
                task.cancel()
            await asyncio.gather(returning, ending, return_exceptions=True)

    async def _run_suspects(self) -> None:
        """One a node: whichever problem runs there when its worker dies is the one that kills it."""
        while self._suspects and not self._stopping:
            able = [w for w in self._workers if w.worker_id not in self._gone]
            able = [w for w in able if w.worker_id not in self._away] or able
            alone = {getattr(worker, "node", worker.worker_id): worker for worker in able}
            try:
                async with asyncio.TaskGroup() as group:
                    for worker in alone.values():
                        group.create_task(self._run_alone(worker))
            except BaseExceptionGroup as errors:
                raise first_error(errors) from errors

    async def _run_alone(self, worker: Worker) -> None:
        """Suspects, as long as there are any and the worker comes back."""
        while self._suspects and not self._stopping and worker.worker_id not in self._gone:
            lease = self._suspects.popleft()
            try:
                self._add(await worker.run_lease(replace(lease, alone=True)))
            except WorkerLost as error:
                self.totals.retried_leases += 1
                times = lease.attempt + 1 - self.GROUP_ATTEMPTS
                if times >= len(lease.problems) + self.ALONE_ATTEMPTS:
                    raise EngineError(
                        f"lease {lease.number} lost its worker {times} times, run alone; the last time: {error}"
                    ) from error
                self._suspects.append(replace(lease, attempt=lease.attempt + 1))
                await self._recover(worker, asyncio.Lock())
