"""Does what goes on beside a coordinator: shows progress, loads pushed weights, scales sandboxes, ends what hangs.

workers ─► snapshots ─► Monitor ─► Display           weights pushed to the run directory ─► Worker.load_weights
workers ─► Autoscaler ─► SandboxSlots                Coordinator ─► LeaseReport ─► LogprobAudit
workers ─► stalls ─► Worker.abort                    Totals ─► Prometheus        RoundLeases.work ─► Coordinator.wake
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import BerryError, StorageError
from berry.pipeline.runtime.display import Display
from berry.pipeline.runtime.driver.coordinator import Coordinator
from berry.pipeline.runtime.driver.labelling import Labelling
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.startup import Started
from berry.pipeline.runtime.monitoring import metrics, prometheus, stalls
from berry.pipeline.runtime.monitoring.autoscaler import Autoscaler
from berry.pipeline.runtime.monitoring.logprob_audit import LogprobAudit
from berry.pipeline.runtime.monitoring.polling import pause_s, snapshots_of
from berry.pipeline.runtime.monitoring.progress import Monitor, explain_unverifiable
from berry.pipeline.runtime.worker import Worker
from berry.pipeline.stages.leases.lease import LeaseReport
from berry.pipeline.stages.leases.partition import RoundLeases
from berry.pipeline.stages.leases.reports import ManifestWriter
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.weights_file import read_weights
from berry.pipeline.tasks import end_tasks

PROGRESS_POLL_S = 0.5
WEIGHTS_POLL_S = 2.0
MANIFEST_S = 30.0  # between two writings of what leases reported: the next driver reads the files of those since
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Background:
    """The work beside one coordinator. `problems`: of the round, those left out that go on from one engine to another;
    `stop` ends the round early, for the reason that it is given;
    `fail` ends the run with an error."""

    config: RunConfig
    launch: Launch
    run: RunDir
    display: Display
    started: Started
    leases: RoundLeases
    coordinator: Coordinator
    manifests: ManifestWriter
    monitor: Monitor
    round_index: int
    problems: int
    stop: Callable[[str], None]
    fail: Callable[[BerryError], None]
    labelling: Labelling | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs all of it while the context lasts; ends with what the audit still has to look at."""
        self.coordinator.on_loss = self._say_loss
        audit = self._audit()

        def take(report: LeaseReport) -> None:
            self.manifests.add(report)
            if audit is not None:
                audit.submit(report)
            if self.labelling is not None:
                self.labelling.follow(report)

        self.coordinator.on_report = take
        tasks = [asyncio.create_task(self._guarded(work)) for work in self._work(audit)]
        if not self.launch.local:
            exporter = prometheus.Exporter({"run": self.config.name})
            tasks.append(prometheus.start(exporter, lambda: metrics.of_totals(self.coordinator.totals)))
        try:
            yield
            if audit is not None:
                await audit.drain()
        finally:
            await end_tasks(tasks)
            await asyncio.to_thread(self._write_manifests)
            await asyncio.to_thread(self.leases.end_round)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Says when one of them ends by an error: the run itself goes on without it."""
        try:
            await work
        except Exception as error:
            log.exception("background work of the driver ended")
            name = work.__name__.strip("_").replace("_", " ")
            self.display.note(f"note: '{name}' has ended: {error}; the run goes on without it")

    def _work(self, audit: LogprobAudit | None) -> Sequence[Coroutine[Any, Any, None]]:
        workers, slots = self.started.workers, self.started.slots
        work: list[Coroutine[Any, Any, None]] = [
            self._show_progress(),
            self._load_pushed_weights(),
            self._watch_actors(),
            self._keep_manifests(),
            self.leases.work(self.coordinator.wake),
            stalls.watch(workers, self.config.storage.stall_s, self.display.note),
        ]
        if self.launch.local:
            worker = workers[0]
            work.append(stalls.watch_checker(worker.check_counters, self.config.storage.stall_s, worker.abort))
        cluster = self.config.cluster
        if cluster.ratio == "auto" and slots.bounds().least < slots.bounds().most:
            scaler = Autoscaler(cluster.balance, slots, workers, self.run, note=self.display.note)
            work.append(scaler.work())
        if audit is not None:
            work.append(audit.work())
        return work

    async def _watch_actors(self) -> None:
        try:
            await self.started.watch(self._join)
        except BerryError as error:
            self.fail(error)

    def _join(self, worker: Worker) -> None:
        """Gives a worker that came up to the coordinator of its engine."""
        if self.labelling is not None and worker.engine_name == self.labelling.engine:
            self.labelling.join(worker)
        else:
            self.coordinator.join(worker)

    def _say_loss(self, text: str) -> None:
        self.display.note(f"{time.strftime('%H:%M:%S')} {text}")

    def _audit(self) -> LogprobAudit | None:
        if self.config.recompute.share <= 0:
            return None
        return LogprobAudit(
            self.config.recompute,
            self.run,
            self.started.workers,
            round_index=self.round_index,
            alarm=self.display.note,
            fence=self.coordinator.fence,
        )

    # ---- progress ---------------------------------------------------------------------------------------------------

    async def _show_progress(self) -> None:
        while True:
            await self.poll()
            wanted_s = self.launch.measure_s
            if wanted_s is not None and self.monitor.steady.lasted_s >= wanted_s:
                self.stop(f"measured for {self.monitor.steady.lasted_s:.1f} s")
            await asyncio.sleep(pause_s(PROGRESS_POLL_S, self.started.workers))

    async def poll(self) -> None:
        """Asks every worker for its figures, and shows them."""
        workers, totals = self.started.workers, self.coordinator.totals
        snapshots = await snapshots_of(workers)
        if not self.monitor.told_unverifiable and (text := explain_unverifiable(snapshots)) is not None:
            self.monitor.told_unverifiable = True
            self.display.note(f"note: {text}")
        now = time.monotonic()
        checks = await workers[0].check_counters()
        self.monitor.total_problems = self.problems + self.leases.went_on
        self.monitor.add(now, snapshots, checks, all_handed_out=self.coordinator.all_handed_out)
        self.display.update(
            self.monitor.view(
                now, snapshots, problems=totals.problems, trajectories=totals.trajectories, kept=totals.kept
            )
        )

    # ---- manifests --------------------------------------------------------------------------------------------------

    async def _keep_manifests(self) -> None:
        """Writes what leases reported, so that the next driver need not read it from their files."""
        while True:
            await asyncio.sleep(MANIFEST_S)
            await asyncio.to_thread(self._write_manifests)

    def _write_manifests(self) -> None:
        try:
            self.manifests.write()
        except StorageError as error:  # the files say it too
            log.warning("a manifest is not written yet: %s", error)

    # ---- weights ----------------------------------------------------------------------------------------------------

    async def _load_pushed_weights(self) -> None:
        """Loads weights that are pushed from outside while the round goes on."""
        before = await asyncio.to_thread(read_weights, self.run.location)
        while True:
            await asyncio.sleep(WEIGHTS_POLL_S)
            now = await asyncio.to_thread(read_weights, self.run.location)
            is_new, before = now != before and now.round_index == self.round_index, now  # other sites may be ahead
            if is_new:
                self.display.note("new weights were pushed: taking them")
                await load_weights(self.started, self.display)


async def load_weights(started: Started, display: Display) -> None:
    """Has every worker and reward actor take the weights that the run directory names; says what could not be taken."""
    display.phase("taking new weights")
    problems = await started.load_reward_weights()
    for texts in await asyncio.gather(*(worker.load_weights() for worker in started.workers)):
        problems.extend(texts)
    for text in problems:
        display.note(text)
