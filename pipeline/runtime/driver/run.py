"""One run from config to committed shards: check, prepare, start, coordinate, watch, stop.

    run(config, launch, display) ─► survey problems ─► preflight engine ─► run directory, lock ─► workers ─► Coordinator

Everything that can be wrong with the input is found before an actor starts. All truth is on storage: a driver that dies
is started again with the same command and goes on behind the last commit.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.placement import Placement, place_actors
from berry.pipeline.core.prune.reach import explain_reach
from berry.pipeline.core.search.conflicts import explain_conflicts, explain_missing_steps
from berry.pipeline.engines.build import preflight
from berry.pipeline.errors import first_error
from berry.pipeline.rewards.model.resolve import preflight_rewards
from berry.pipeline.runtime.display import Display
from berry.pipeline.runtime.driver.background import beside
from berry.pipeline.runtime.driver.coordinator import Coordinator
from berry.pipeline.runtime.driver.lease_claims import LeaseClaims
from berry.pipeline.runtime.driver.outcome import Launch, Outcome, figures_of, versions
from berry.pipeline.runtime.driver.signals import on_stop
from berry.pipeline.runtime.driver.startup import start
from berry.pipeline.runtime.driver.totals import Totals
from berry.pipeline.runtime.driver.train_process import learn_apart
from berry.pipeline.runtime.monitoring.live_status import recording
from berry.pipeline.runtime.monitoring.progress import Monitor
from berry.pipeline.runtime.worker import Pool, Worker
from berry.pipeline.stages.dataset.reports import read_reports
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.problems.sources import Survey, survey
from berry.pipeline.storage import segments, shards
from berry.pipeline.storage.dataset import RunDir, locked, prepare
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.heartbeat import Presence
from berry.pipeline.storage.weights_file import is_written, read_weights, weights_after, write_weights

POLL_S = 0.5
POLLED = 100  # workers; beyond them each is asked less often, so that asking costs the driver no more
LOOK_AGAIN_S = 2.0  # at weights.json, for weights pushed from outside


def run(config: RunConfig, launch: Launch, display: Display) -> Outcome:
    """Runs, or resumes, to the end. Raises the errors of berry.pipeline.errors."""
    display.phase("reading problems")
    found = survey(config.problems)
    planned = place_actors(config.cluster)
    if config.engine.type == "synthetic":
        display.note("SYNTHETIC engine: no model stands behind what this run writes")
    for conflict in explain_conflicts(config.rollout):
        display.note(f"note: {conflict}")
    of_lease = config.storage.lease_problems
    for limit in explain_reach(config.pruning, problems=found.count, variants=found.variants, lease_problems=of_lease):
        display.note(f"note: {limit}")
    preflight(config.engine)
    preflight_rewards(config.rewards)
    place = locate(launch.place)
    absolute = place.root if place.is_local else place.url
    directory, resumed = prepare(absolute, config, versions(found))
    storage = config.storage
    holding = locked(directory, site=storage.site, silent_s=storage.silent_s, note=display.note)
    with holding as presence, recording(display, directory, storage.site) as shown:
        driver = _Driver(config, launch, shown, found, planned, directory)
        driver.presence = presence if storage.site is not None else None
        if resumed:
            driver.say_what_is_done()
        try:
            outcome = asyncio.run(driver.run())
        except BaseExceptionGroup as errors:
            raise first_error(errors) from errors
        shown.end("finished" if outcome.finished else "stopped")
        return outcome


class _Driver:
    def __init__(
        self,
        config: RunConfig,
        launch: Launch,
        display: Display,
        found: Survey,
        planned: Placement,
        directory: RunDir,
    ) -> None:
        self.config = config
        self.launch = launch
        self.display = display
        self.found = found
        self.planned = planned
        self.directory = directory
        self.rounds = 1 if config.rounds is None else config.rounds.count
        self.total_leases = math.ceil(found.count / config.storage.lease_problems)
        self.pool: Pool | None = None
        self.presence: Presence | None = None  # among other sites
        self.claiming: LeaseClaims | None = None
        self.round = 0
        self.done: set[int] = set()
        self.journalled: set[int] = set()
        self.handed_out = False
        self.interrupted = False

    def say_what_is_done(self) -> None:
        round_index = self._first_open() or 0
        done = len(self.directory.committed(round_index))
        where = f" of round {round_index} of {self.rounds}" if self.rounds > 1 else ""
        self.display.note(f"resuming: {done} of {self.total_leases} leases{where} are committed")

    async def run(self) -> Outcome:
        first = self._first_open()
        if first is None:
            self.display.note("every lease of this run is committed already; nothing to do")
            self._begin(self.rounds - 1)
            return self._outcome(self._before(), self.directory.metrics("run") or {}, finished=True)
        if first > 0 or is_written(self.directory.location):
            await self._serve(first)
        self._begin(first)
        workers, stop = await self._start_workers()
        try:
            for round_index in range(first, self.rounds):
                self._begin(round_index)
                if self.rounds > 1:
                    self.display.note(f"round {round_index} of {self.rounds}")
                outcome = await self._coordinate(workers, self._before())
                while outcome.finished and self._is_left_to_others():
                    self._begin(round_index)
                    outcome = await self._coordinate(workers, self._before())
                if not outcome.finished or round_index + 1 == self.rounds:
                    return outcome
                if not await learn_apart(self.directory, round_index, self.display, self.presence):
                    return replace(outcome, finished=False)
                await self._serve(round_index + 1)
                await self._load_weights(workers)
            raise AssertionError("a run has at least one round")
        finally:
            self.display.phase("stopping")
            await stop()

    # ---- rounds ------------------------------------------------------------------------------------------------------

    def _first_open(self) -> int | None:
        """The first round with something left to do; None if all are done."""
        for round_index in range(self.rounds):
            last = round_index + 1 == self.rounds
            if len(self.directory.committed(round_index)) < self.total_leases:
                return round_index
            if not last and weights_after(self.directory, round_index) is None:
                return round_index
        return None

    def _begin(self, round_index: int) -> None:
        """Takes stock of a round: what is committed, what an earlier driver left behind."""
        location = self.directory.location
        self.round = round_index
        if self.presence is None:  # else another site may be writing them
            shards.remove_uncommitted(location, round_index)
        self.done = self.directory.committed(round_index)
        for lease in self.directory.journalled(round_index) & self.done:  # killed before its journal was removed
            segments.remove(location, segments.folder(lease, round_index))
        self.journalled = self.directory.journalled(round_index)
        self.handed_out = False

    def _is_left_to_others(self) -> bool:
        """Whether other sites have taken over what was this one's, and have not committed it yet."""
        return self.presence is not None and len(self.directory.committed(self.round)) < self.total_leases

    def _before(self) -> Totals:
        before = Totals()
        for report in read_reports(self.directory.location, self.round):
            before.add(report)
        return before

    async def _serve(self, round_index: int) -> None:
        """Writes down what serves in a round: what the one before it learned, unless newer weights were pushed."""
        location = self.directory.location
        now = await asyncio.to_thread(read_weights, location)
        if now.round_index >= round_index:
            return
        after = await asyncio.to_thread(weights_after, self.directory, round_index - 1)
        assert after is not None, f"round {round_index - 1} has not been learned from"
        await asyncio.to_thread(write_weights, location, after)

    async def _load_weights(self, workers: Sequence[Worker]) -> None:
        self.display.phase("taking new weights")
        wrong = await self.load_reward_weights()
        for texts in await asyncio.gather(*(worker.load_weights() for worker in workers)):
            wrong.extend(texts)
        for text in wrong:
            self.display.note(text)

    async def _start_workers(self) -> tuple[Sequence[Worker], Any]:
        started = await start(self.config, self.launch, self.planned, self.directory.location, self.round, self.display)
        self.load_reward_weights, self.pool = started.load_reward_weights, started.pool
        return started.workers, started.stop

    async def _coordinate(self, workers: Sequence[Worker], before: Totals) -> Outcome:
        coordinator = Coordinator(self._leases(), list(workers))
        coordinator.totals = before
        coordinator.more = lambda: self.claiming is not None and self.claiming.more
        monitor = Monitor(time.monotonic(), self.found.count, done_before=before.problems)
        work = asyncio.create_task(coordinator.run())
        self.stop = partial(self._stop, coordinator, work)
        watching = asyncio.create_task(self._watch(monitor, workers, coordinator))
        started = time.monotonic()
        finished = False
        try:
            with on_stop(self.stop, "what is in flight is journalled"):
                async with beside(self, coordinator, workers):
                    await work
            finished = not self.interrupted
        except asyncio.CancelledError:
            if not self.interrupted:
                raise
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await self._poll(monitor, workers, coordinator)
        missing = explain_missing_steps(self.config.rollout, coordinator.totals.ledger)
        if missing is not None:
            self.display.note(f"note: {missing}")
        figures = figures_of(monitor, coordinator.totals, time.monotonic() - started)
        self.directory.write_metrics("run" if self.rounds == 1 else f"round-{self.round}", figures)
        if self.rounds > 1:
            self.directory.write_metrics("run", figures)
        totals = coordinator.totals if self.claiming is None else self._before()  # with what other sites did
        return self._outcome(totals, figures, finished=finished)

    def _outcome(self, totals: Totals, figures: dict[str, Any], *, finished: bool) -> Outcome:
        return Outcome(
            place=self.launch.place, finished=finished, resumed_leases=len(self.done), totals=totals, figures=figures
        )

    def _leases(self) -> Iterator[Lease]:
        if self.presence is not None:
            self.claiming = LeaseClaims(
                self.directory,
                self.config,
                self.presence,
                round_index=self.round,
                total=self.total_leases,
                journalled=self.journalled,
            )
            return self.claiming
        return self._all_leases()

    def _all_leases(self) -> Iterator[Lease]:
        size = self.config.storage.lease_problems
        yield from iter_leases(
            self.config.problems, size=size, skip=self.done, journalled=self.journalled, round_index=self.round
        )
        self.handed_out = True

    def _stop(self, coordinator: Coordinator, work: asyncio.Task[Totals], why: str) -> None:
        if self.interrupted:
            return
        self.interrupted = True
        self.handed_out = True
        coordinator.stop()
        self.display.note(f"stopping; {why}")
        work.cancel()

    async def _watch(self, monitor: Monitor, workers: Sequence[Worker], coordinator: Coordinator) -> None:
        seen, looked = await asyncio.to_thread(read_weights, self.directory.location), time.monotonic()
        while True:
            await self._poll(monitor, workers, coordinator)
            if self.launch.measure_s is not None and monitor.steady.lasted_s >= self.launch.measure_s:
                self.stop(f"measured for {monitor.steady.lasted_s:.1f} s")
            await asyncio.sleep(POLL_S * max(1.0, len(workers) / POLLED))
            if time.monotonic() - looked < LOOK_AGAIN_S:
                continue
            now, looked = await asyncio.to_thread(read_weights, self.directory.location), time.monotonic()
            is_new, seen = now != seen and now.round_index == self.round, now  # other sites may be a round ahead
            if is_new:
                self.display.note("new weights were pushed: taking them")
                await self._load_weights(workers)

    async def _poll(self, monitor: Monitor, workers: Sequence[Worker], coordinator: Coordinator) -> None:
        snapshots = [s for s in await asyncio.gather(*(w.snapshot() for w in workers)) if s is not None]
        now = time.monotonic()
        monitor.add(now, snapshots, await workers[0].checks(), all_handed_out=self.handed_out)
        totals = coordinator.totals
        self.display.update(
            monitor.view(now, snapshots, problems=totals.problems, trajectories=totals.trajectories, kept=totals.kept)
        )
