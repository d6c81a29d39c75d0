"""Takes one run from its configuration to committed shards: check, prepare, start, run rounds, train between them.

    run(config, launch, display) ─► survey problems ─► preflight engine ─► run directory, lock ─► Driver
    Driver, each round ─► RoundLeases ─► Coordinator on the workers ─► shards ─► training ─► new weights

Everything that can be wrong with the input is found before an actor starts. All truth is on storage: a driver that dies
is started again with the same command and goes on behind the last commit.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

from berry.pipeline.config.overlap import training_processes
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import EngineConfig
from berry.pipeline.core.assignment.routing import steps_of
from berry.pipeline.core.placement import Placement, place_actors
from berry.pipeline.core.search.conflicts import (
    explain_missing_calls,
    explain_missing_steps,
)
from berry.pipeline.engines.preflight import check_completes, check_each_engine
from berry.pipeline.errors import BerryError, StorageError, first_error
from berry.pipeline.garbage import freeze_what_is_loaded
from berry.pipeline.rewards.model.resolve import preflight_rewards
from berry.pipeline.runtime.actors.process import allow_many_files
from berry.pipeline.runtime.display import Display
from berry.pipeline.runtime.driver.background import Background, load_weights
from berry.pipeline.runtime.driver.coordinator import Coordinator
from berry.pipeline.runtime.driver.expectations import (
    check_labels,
    check_one_process,
    check_same_problems,
    check_same_texts,
    say_cores,
    say_missing_tools,
    say_what_to_expect,
)
from berry.pipeline.runtime.driver.labelling import Labelling, open_labels
from berry.pipeline.runtime.driver.lease_claims import ClaimedLeases
from berry.pipeline.runtime.driver.merge_process import merge_after_round
from berry.pipeline.runtime.driver.outcome import Launch, RunOutcome, figures_of, versions
from berry.pipeline.runtime.driver.overlapped_rounds import OverlappedRounds, check_overlap
from berry.pipeline.runtime.driver.round_plan import LabelledRounds, RoundPlan, TrainedRounds, labelled_rounds
from berry.pipeline.runtime.driver.signals import on_stop
from berry.pipeline.runtime.driver.startup import Started, start
from berry.pipeline.runtime.driver.totals import RoundTotals
from berry.pipeline.runtime.monitoring.live_status import recording
from berry.pipeline.runtime.monitoring.polling import snapshots_of
from berry.pipeline.runtime.monitoring.progress import Monitor
from berry.pipeline.runtime.monitoring.trackers import preflight as preflight_trackers
from berry.pipeline.runtime.monitoring.tracking import tracked
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.leases.labelling import LabelledLeases, TaughtLeases
from berry.pipeline.stages.leases.partition import (
    AllLeases,
    RoundLeases,
    lease_count,
)
from berry.pipeline.stages.leases.recall import remember, survey_or_recall
from berry.pipeline.stages.leases.reports import ManifestWriter, read_reports
from berry.pipeline.stages.tools.preflight import check_interaction
from berry.pipeline.stages.tools.programs import fault_in_mode
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.remote import outages_told
from berry.pipeline.storage.run.directory import RunDir, locked, prepare, revised_run

_IN_FLIGHT = {
    "run": "what is in flight is journalled",
    "local": "what is in flight is journalled on each worker's host",
    "off": "what is in flight is lost (storage.journal: off)",
}
"""What becomes of it when a run is stopped, by storage.journal."""


def run(config: RunConfig, launch: Launch, display: Display) -> RunOutcome:
    """Runs, or resumes, to the end. Raises the errors of berry.pipeline.errors."""
    allow_many_files()
    display.phase("reading problems")
    if launch.local:
        check_one_process(config)
    location = locate(launch.run_dir)
    problems, files = survey_or_recall(location, config, fault_in_mode(config))
    planned = place_actors(config.cluster, config.engine_roles)
    say_what_to_expect(config, problems, display)
    if launch.is_here:
        say_cores(planned, display)
        say_missing_tools(config, problems, display)
    check_labels(config)
    check_each_engine(config)
    preflight_rewards(config.rewards)
    preflight_trackers(config.tracking, locate(launch.run_dir))
    if config.annotation is None and (untried := check_interaction(config, problems.by_verifier)) is not None:
        display.note(f"note: {untried}")
    check_overlap(config, launch, location)
    total = lease_count(problems.by_engine, config)
    follows = config.engines or steps_of(config) > 1
    made_with = versions(problems, leases=total if follows else None)
    if config.annotation is not None:
        source = revised_run(location)
        labelled_rounds(source, config.annotation)
        check_same_problems(source, made_with)
        check_same_texts(source, config, problems)
        check_completes(stored_config(source), config)
    if config.labelling is not None:
        check_completes(config, config.labelling)
    place = location.root if location.is_local else location.url
    directory, resumed = prepare(place, config, made_with, files)
    if resumed:
        check_same_texts(directory, config, problems)
        remember(directory.location, files)
    storage = config.storage
    lock = locked(directory, site=storage.site, silent_s=storage.silent_s, note=display.note)
    with (
        lock as presence,
        tracked(display, config, directory) as trackers,
        recording(trackers, directory, storage.site) as shown,
        outages_told(shown.note),
    ):
        leases: RoundLeases
        labelling: Labelling | None = None
        if config.labelling is not None:
            labels = open_labels(directory, config, made_with, files)
            leases = TaughtLeases(directory, config, labels)
            labelling = Labelling(labels, leases, total=total, note=shown.note)
        elif config.annotation is not None:
            leases = LabelledLeases(directory, config, revised_run(directory.location))
        elif storage.site is None or presence is None:
            leases = AllLeases(directory, config)
        else:
            leases = ClaimedLeases(directory, config, presence, total=total)
        driver = Driver(
            config, launch, shown, directory, leases, planned, problems=problems.count, total=total, labelling=labelling
        )
        if resumed:
            driver.say_what_is_done()
        try:
            with nullcontext() if labelling is None else labelling.held():
                outcome = asyncio.run(driver.run())
        except BaseExceptionGroup as errors:
            raise first_error(errors) from errors
        trackers.finished = outcome.finished
        shown.end("finished" if outcome.finished else "stopped")
        return outcome


def _is_priced(engine: EngineConfig) -> bool:
    return engine.type == "http" and engine.price is not None


class Driver:
    """Runs the rounds of one run that are not done yet."""

    def __init__(
        self,
        config: RunConfig,
        launch: Launch,
        display: Display,
        directory: RunDir,
        leases: RoundLeases,
        planned: Placement,
        *,
        problems: int,
        total: int,
        labelling: Labelling | None = None,
    ) -> None:
        """`problems` that are searched whatever comes of others, `total` leases of a round; `labelling`: of a run whose
        steps a teacher labels."""
        self._config = config
        self._launch = launch
        self._display = display
        self._directory = directory
        self._leases = leases
        self._planned = planned
        self._problems = problems
        self._labelling = labelling
        self._plan: RoundPlan
        if config.annotation is not None:
            self._plan = LabelledRounds(directory, config)
        elif config.rounds is not None and config.rounds.overlap:
            self._plan = OverlappedRounds(directory, config, leases, total=total)
        else:
            self._plan = TrainedRounds(directory, config, leases, total=total, address=launch.address)
        self._last = self._plan.rounds[-1]
        self._interrupted = False
        self._failure: BerryError | None = None

    def say_what_is_done(self) -> None:
        """Says how much an earlier driver has committed."""
        first = self._first_open
        round_index = self._plan.rounds[0] if first is None else first
        done = len(self._directory.committed(round_index))
        where = f" of round {round_index} of {len(self._plan.rounds)}" if len(self._plan.rounds) > 1 else ""
        self._display.note(f"resuming: {done} of {self._plan.leases(round_index)} leases{where} are committed")
        journal = self._config.storage.journal
        if journal != "run" and done < self._plan.leases(round_index):
            again = "what was in flight" if journal == "off" else "what is in flight on a host that is gone"
            self._display.note(f"note: storage.journal is {journal}: {again} is generated again")

    async def run(self) -> RunOutcome:
        """Runs to the end, or until a signal stops it. Raises the errors of berry.pipeline.errors."""
        first = self._first_open
        if first is None:
            return self._nothing_to_do()
        if not await self._plan.check(self._display):
            return self._outcome(self._committed_totals(first), {}, finished=False)
        await self._plan.set_weights(first)
        started = await self._start(first)
        if started is None:
            self._display.note("stopped before anything had started")
            return self._outcome(self._committed_totals(first), {}, finished=False)
        try:
            rounds = [r for r in self._plan.rounds if r >= first]
            for round_index, following in zip(rounds, [*rounds[1:], None], strict=True):
                outcome = await self._run_round(round_index, started)
                if not outcome.finished:
                    return outcome
                if following is None:
                    return replace(outcome, finished=await self._plan.finish(self._display))
                if self._training_takes_place():
                    self._display.phase("ending the actors, whose place the training takes")
                    await started.stop()
                    started = None
                ray_address = None if started is None else started.ray_address
                if not await self._plan.end_round(round_index, self._display, ray_address):
                    return replace(outcome, finished=False)
                await self._plan.set_weights(following)
                if started is None:
                    started = await self._start(following)
                    if started is None:
                        return replace(outcome, finished=False)
                else:
                    await load_weights(started, self._display)
            raise AssertionError("a run has at least one round")
        finally:
            await self._plan.close()
            if started is not None:
                self._display.phase("stopping")
                await started.stop()

    async def _start(self, round_index: int) -> Started | None:
        """Starts what serves in a round, with its weights; None when a signal asked to stop."""
        starting = asyncio.ensure_future(
            start(self._config, self._launch, self._planned, self._directory.location, round_index, self._display)
        )
        try:
            with on_stop(starting.cancel):
                started = await starting
        except asyncio.CancelledError:
            return None
        freeze_what_is_loaded()  # a collection that walks over a thousand handles holds every lease up for 0.3 s
        return started

    def _training_takes_place(self) -> bool:
        """Whether training between rounds needs the GPUs, or cores, that the actors hold."""
        rounds = self._config.rounds
        if self._launch.local or rounds is None or rounds.overlap or not (rounds.policy or rounds.train):
            return False
        return training_processes(self._config) > 1 or self._planned.rollout.gpus > 0 or self._planned.reward.gpus > 0

    # ---- rounds -----------------------------------------------------------------------------------------------------

    @cached_property
    def _first_open(self) -> int | None:
        """The first round with something left to do when the driver began; None if all are done."""
        return next((r for r in self._plan.rounds if self._plan.is_open(r) or self._is_unlabelled(r)), None)

    def _is_unlabelled(self, round_index: int) -> bool:
        return self._labelling is not None and self._labelling.is_open(round_index)

    def _nothing_to_do(self) -> RunOutcome:
        self._display.note("every lease of this run is committed already; nothing to do")
        self._leases.begin_round(self._last)
        return self._outcome(self._committed_totals(self._last), self._directory.metrics("run") or {}, finished=True)

    async def _run_round(self, round_index: int, started: Started) -> RunOutcome:
        if len(self._plan.rounds) > 1:
            self._display.note(f"round {round_index} of {len(self._plan.rounds)}")
        while True:
            self._leases.begin_round(round_index)
            is_committed = len(self._leases.committed_before) >= self._plan.leases(round_index)
            if is_committed and not self._is_unlabelled(round_index):  # its figures stay
                figures = self._directory.metrics(self._figures_of(round_index)) or {}
                outcome = self._outcome(self._committed_totals(round_index), figures, finished=True)
            else:
                outcome = await self._coordinate(round_index, started)
            if not outcome.finished:
                return outcome
            if not self._leases.is_unfinished():
                await self._compact(round_index, generated=outcome.totals.ledger.generated)
                return outcome

    async def _compact(self, round_index: int, *, generated: int) -> None:
        """Merges the round's files, unless other sites may be at work in the run directory."""
        if not self._config.storage.compact or self._config.storage.site is not None:
            return
        self._display.phase("merging files")
        try:
            for run in (self._directory, *([] if self._labelling is None else [self._labelling.run])):
                await merge_after_round(run, round_index, generated=generated)
        except StorageError as error:  # the files are as they were: what is wrong with them is for `berry check` to say
            self._display.note(f"note: the round's files were not merged: {error}")

    async def _coordinate(self, round_index: int, started: Started) -> RunOutcome:
        manifests = ManifestWriter(self._directory.location, round_index)
        into = None if self._leases.is_shared else manifests  # what other sites commit they write themselves
        before = await asyncio.to_thread(self._committed_totals, round_index, into)
        earlier_problems = before.problems
        labelling = self._labelling
        its_own = [w for w in started.workers if labelling is None or w.engine_name != labelling.engine]
        coordinator = Coordinator(self._leases, its_own, totals=before)
        if labelling is not None:
            await asyncio.to_thread(labelling.begin, round_index, started.workers, self._display.note)
        monitor = Monitor(time.monotonic(), self._problems, done_before=before.problems)
        monitor.begin(await snapshots_of(started.workers), scored=started.scored_tokens())
        running = coordinator.run() if labelling is None else labelling.run_beside(coordinator)
        work = asyncio.ensure_future(running)

        def stop(why: str) -> None:
            if not self._interrupted:
                self._interrupted = True
                coordinator.stop()
                if labelling is not None:
                    labelling.stop()
                self._display.note(f"stopping; {why}")
                work.cancel()

        def fail(error: BerryError) -> None:
            self._failure = self._failure or error
            work.cancel()

        background = Background(
            config=self._config,
            launch=self._launch,
            run=self._directory,
            display=self._display,
            started=started,
            leases=self._leases,
            coordinator=coordinator,
            manifests=manifests,
            monitor=monitor,
            round_index=round_index,
            problems=self._problems,
            stop=stop,
            fail=fail,
            labelling=labelling,
        )
        began = time.monotonic()
        try:
            with on_stop(stop, _IN_FLIGHT[self._config.storage.journal.partition(":")[0]]):
                async with background.running():
                    await work
        except asyncio.CancelledError:
            if self._failure is not None:
                raise self._failure from None
            if not self._interrupted:
                raise
        await background.poll()
        if not self._config.rollout.modes:  # a mode's own tokens are not counted so finely
            for explain in (explain_missing_steps, explain_missing_calls):
                missing = explain(self._config.rollout, coordinator.totals.ledger)
                if missing is not None:
                    self._display.note(f"note: {missing}")
        totals = self._committed_totals(round_index) if self._leases.is_shared else coordinator.totals
        figures = figures_of(
            monitor,
            coordinator.totals,
            started.losses(),
            scored=started.scored_tokens(),
            other_problems=totals.problems - (coordinator.totals.problems - earlier_problems),
            wall_s=time.monotonic() - began,
            priced=any(_is_priced(one.engine) for one in self._config.each_engine.values()),
        )
        if labelling is not None:
            await asyncio.to_thread(labelling.end)
            figures["engines"] = {**totals.engines, labelling.engine: labelling.counts(totals)}
        self._write_figures(round_index, figures)
        return self._outcome(totals, figures, finished=not self._interrupted)

    # ---- what was done ----------------------------------------------------------------------------------------------

    def _committed_totals(self, round_index: int, into: ManifestWriter | None = None) -> RoundTotals:
        totals = RoundTotals()
        location, note = self._directory.location, self._display.note
        known = None if into is None else self._leases.committed_before  # this driver alone commits more
        stored = read_reports(
            location, round_index, committed=known, into=into, note=lambda text: note(f"note: {text}")
        )
        for report in stored:
            totals.add(report)
        return totals

    def _write_figures(self, round_index: int, figures: dict[str, Any]) -> None:
        for name in {self._figures_of(round_index), "run"}:
            self._directory.write_metrics(name, figures)

    def _figures_of(self, round_index: int) -> str:
        return "run" if len(self._plan.rounds) == 1 else f"round-{round_index}"

    def _outcome(self, totals: RoundTotals, figures: dict[str, Any], *, finished: bool) -> RunOutcome:
        return RunOutcome(
            run_dir=self._launch.run_dir,
            finished=finished,
            resumed_leases=len(self._leases.committed_before),
            totals=totals,
            figures=figures,
        )
