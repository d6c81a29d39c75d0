"""Hands leases to workers, adds up their reports, and hands a lease out again when its worker is lost.

    LeaseSource ─► Coordinator ─► Worker.run_lease ─► LeaseReport ─► Totals
                       └── a lost worker's leases go to the front of the queue again

There is no barrier: every worker always holds enough leases to stay full, and a report makes room for the next at once.
It knows no Ray, engine or file.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

from berry.pipeline.errors import EngineError, first_error
from berry.pipeline.runtime.driver.totals import RoundTotals
from berry.pipeline.runtime.worker import Worker, WorkerLost
from berry.pipeline.stages.leases.lease import Lease, LeaseReport, LeaseSource
from berry.pipeline.tasks import unless


class Coordinator:
    """Runs the leases of one round to their commit.

    A lease that lost its worker twice is a suspect. Suspects run last, one a node and each alone, so that the problem
    that kills its worker is found (`stages.rollout.worker`) and no other is blamed.
    """

    LOSSES_OF_A_SUSPECT = 2
    LOSSES_ALONE = 4  # that a suspect may cost beyond one for each of its problems

    def __init__(self, source: LeaseSource, workers: list[Worker], *, totals: RoundTotals | None = None) -> None:
        self._source = source
        self._workers = workers
        self._again: deque[Lease] = deque()  # lost with a worker, to be handed out before others
        self._suspects: deque[Lease] = deque()
        self._down: set[str] = set()  # workers whose return is waited for
        self._absent: set[str] = set()  # workers that had not returned when the work was done
        self._out: set[str] = set()  # workers that get no further lease: gone for good, or fenced
        self._group: asyncio.TaskGroup | None = None
        self._all_done = asyncio.Event()
        self._in_flight: Counter[str] = Counter()  # leases of each worker
        self._changed = asyncio.Condition()
        self._stopping = False
        self.totals = totals or RoundTotals()
        self.on_report: Callable[[LeaseReport], None] = lambda _: None
        self.on_loss: Callable[[str], None] = lambda _: None  # told in words

    @property
    def all_handed_out(self) -> bool:
        """Whether no lease is left that was not handed out yet."""
        return self._stopping or not self._source.may_have_more

    def stop(self) -> None:
        """Hands out nothing more; leases in flight are finished."""
        self._stopping = True

    async def wake(self) -> None:
        """Looks again for leases: the source may have one now, or have come to its end."""
        async with self._changed:
            self._changed.notify_all()

    def fence(self, worker_id: str) -> bool:
        """Gives a worker no further lease. False, and nothing happens, if it is the last one of its engine that
        works."""
        engine = next((w.engine_name for w in self._workers if w.worker_id == worker_id), "")
        others = {w.worker_id for w in self._workers if w.engine_name == engine} - self._out - {worker_id}
        if others:
            self._out.add(worker_id)
        return bool(others)

    def join(self, worker: Worker) -> None:
        """Takes on a worker that came while the run goes on; it gets nothing where all leases are handed out."""
        if worker not in self._workers:
            self._workers.append(worker)
        if self._group is not None and not self._all_done.is_set():
            recovering = asyncio.Lock()
            for _ in range(worker.leases_at_once):
                self._group.create_task(self._serve(worker, recovering))

    async def run(self) -> RoundTotals:
        """Runs every lease to its commit. Raises the first error that retrying can't mend."""
        while True:
            await self._run_all()
            had_suspects = bool(self._suspects)
            await self._run_suspects()
            if self._stopping or not (had_suspects and self._source.may_have_more):
                return self.totals  # else leases follow from those of suspects

    async def _run_all(self) -> None:
        """Runs every lease that there is to its commit, but suspects."""
        async with asyncio.TaskGroup() as self._group:
            recovering = {worker.worker_id: asyncio.Lock() for worker in self._workers}
            for turn in range(max((w.leases_at_once for w in self._workers), default=0)):
                for worker in self._workers:  # dealt in turn, so that a short run keeps every engine busy
                    if turn < worker.leases_at_once:
                        self._group.create_task(self._serve(worker, recovering[worker.worker_id]))
        self._group = None
        self._all_done.clear()

    async def _serve(self, worker: Worker, recovering: asyncio.Lock) -> None:
        """Runs leases on one worker, one after the other; `leases_at_once` of these are at work for each worker."""
        while (lease := await self._next(worker)) is not None:
            lost = False
            try:
                self._add(await worker.run_lease(lease))
            except WorkerLost as error:
                self._hand_back(lease)
                if worker.worker_id not in self._down:
                    self._say_lost(error, self._in_flight[worker.worker_id])
                self._down.add(worker.worker_id)
                lost = True
            finally:
                async with self._changed:  # before the worker is waited for: others take the lease meanwhile
                    self._in_flight[worker.worker_id] -= 1
                    self._changed.notify_all()
            if lost:
                await self._recover(worker, recovering)

    async def _next(self, worker: Worker) -> Lease | None:
        """The next lease for a worker once it is up; None when there is none left and none that may come back."""
        async with self._changed:
            while not self._stopping and worker.worker_id not in self._out and not self._all_done.is_set():
                if worker.worker_id not in self._down:
                    lease = self._lost_one(worker.engine_name) or self._source.take(worker.engine_name)
                    if lease is not None:
                        self._in_flight[worker.worker_id] += 1
                        return lease
                    if not self._in_flight.total() and not self._again and not self._source.may_have_more:
                        self._all_done.set()
                        self._changed.notify_all()
                        break
                await self._changed.wait()
            return None

    def _lost_one(self, engine: str, among: deque[Lease] | None = None) -> Lease | None:
        """Takes the first lease of an engine that was lost with a worker."""
        lost = self._again if among is None else among
        lease = next((lease for lease in lost if lease.engine == engine), None)
        if lease is not None:
            lost.remove(lease)
        return lease

    def _add(self, report: LeaseReport) -> None:
        self.totals.add(report)
        if not report.late:
            self._source.settle(report)
            self.on_report(report)

    # ---- lost workers -----------------------------------------------------------------------------------------------

    def _say_lost(self, error: WorkerLost, leases: int) -> None:
        """One line for a lost worker, however many leases it had."""
        self.totals.lost_workers += 1
        which = "its lease is" if leases == 1 else f"its {leases} leases are"
        self.on_loss(f"{error}; {which} handed out again")

    def _hand_back(self, lease: Lease) -> None:
        again = replace(lease, attempt=lease.attempt + 1, losses=lease.losses + 1)
        self.totals.retried_leases += 1
        if again.losses < self.LOSSES_OF_A_SUSPECT:
            self._again.append(again)
        else:
            self._suspects.append(again)

    async def _recover(self, worker: Worker, recovering: asyncio.Lock) -> None:
        """Waits until a lost worker is back, or until all work is done. Of several that lost the same worker the first
        does it, and the others wait for that one."""
        is_first = not recovering.locked()
        async with recovering:
            if is_first:
                await self._until_back(worker)
            self._down.discard(worker.worker_id)
        await self.wake()

    async def _until_back(self, worker: Worker) -> None:
        try:
            if await unless(self._all_done, worker.recover()):
                self._absent.discard(worker.worker_id)
            else:
                self._absent.add(worker.worker_id)
        except EngineError as error:
            self._out.add(worker.worker_id)
            if all(w.worker_id in self._out for w in self._workers if w.engine_name == worker.engine_name):
                raise
            self.on_loss(f"{error}; the run goes on without it")

    # ---- suspects ---------------------------------------------------------------------------------------------------

    async def _run_suspects(self) -> None:
        """Runs suspects one a node: whichever problem runs there when its worker dies is the one that kills it."""
        while self._suspects and not self._stopping:
            engine = self._suspects[0].engine
            able = [w for w in self._workers if w.worker_id not in self._out and w.engine_name == engine]
            able = [w for w in able if w.worker_id not in self._absent] or able
            one_a_node = {worker.node: worker for worker in able}
            try:
                async with asyncio.TaskGroup() as group:
                    for worker in one_a_node.values():
                        group.create_task(self._run_alone(worker))
            except BaseExceptionGroup as errors:
                raise first_error(errors) from errors

    async def _run_alone(self, worker: Worker) -> None:
        """Runs suspects as long as there are any and the worker comes back."""
        while not self._stopping and worker.worker_id not in self._out:
            lease = self._lost_one(worker.engine_name, self._suspects)
            if lease is None:
                return
            try:
                self._add(await worker.run_lease(replace(lease, alone=True)))
            except WorkerLost as error:
                self.totals.retried_leases += 1
                times = lease.losses + 1 - self.LOSSES_OF_A_SUSPECT
                if times >= len(lease.problems) + self.LOSSES_ALONE:
                    raise EngineError(
                        f"lease {lease.number} lost its worker {times} times, run alone; the last time: {error}"
                    ) from error
                self._say_lost(error, 1)
                self._suspects.append(replace(lease, attempt=lease.attempt + 1, losses=lease.losses + 1))
                await self._recover(worker, asyncio.Lock())
