"""Trains on a round while the next one generates, in processes that have resources of their own.

    round 0 ─► round 1 ─► round 2 ─► …        a round waits for the training that its weights come from
         └─ training 0 ─► └─ training 1 ─► …   one after the other, each starting from the weights of the one before

Which weights a round is made with follows from its number alone (`Rounds.trainings_behind`), so that a run that was
killed in a round or a training goes on to make what an undisturbed one makes.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rounds import Rounds
from berry.pipeline.errors import BerryError, ConfigError
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.round_plan import TrainedRounds
from berry.pipeline.runtime.driver.signals import on_stop
from berry.pipeline.runtime.driver.train_process import Notes, train_after_round
from berry.pipeline.stages.leases.partition import RoundLeases
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.weights_file import weights_after
from berry.pipeline.tasks import end_tasks, unless


def check_overlap(config: RunConfig, launch: Launch, location: Location) -> None:
    """Raises ConfigError where what was launched has no place for a training beside a round."""
    train = config.cluster.roles.train
    if config.rounds is None or not config.rounds.overlap or train is None:
        return
    if launch.local and train.gpus:
        raise ConfigError(
            "rounds.overlap: --local is one process, which holds the GPUs that it sees, and cluster.roles.train.gpus "
            f"is {train.gpus:g}: run it on Ray (without --local)"
        )
    if not launch.local and not location.is_local and train.labels:
        raise ConfigError(
            f"rounds.overlap: processes that train on a run in {location.show()} stay on the driver's node, and "
            "cluster.roles.train.labels may name others: leave the labels out, or put the run directory where all "
            "nodes see it"
        )


@dataclass(slots=True)
class _Beside:
    """What a training says while a round has the display: its notes alone, until the round waits for it."""

    display: Notes
    is_waited_for: bool = False

    def phase(self, text: str) -> None:
        if self.is_waited_for:
            self.display.phase(text)

    def note(self, text: str) -> None:
        self.display.note(text)


class OverlappedRounds(TrainedRounds):
    """The rounds of a run that trains on each while the next one generates (`RoundPlan`)."""

    def __init__(self, directory: RunDir, config: RunConfig, leases: RoundLeases, *, total: int) -> None:
        """`total`: leases of a round."""
        super().__init__(directory, config, leases, total=total, address=None)
        assert config.rounds is not None
        self._schedule: Rounds = config.rounds
        self._takes = config.cluster.roles.train
        self._trainings: dict[int, asyncio.Task[None]] = {}
        self._shown: _Beside | None = None

    async def end_round(self, round_index: int, display: Notes, ray_address: str | None) -> bool:
        """Begins the training on the round, and waits for the one that the next round's weights come from."""
        self._begin(round_index, display, ray_address)
        return await self._until_trained(self._schedule.trainings_behind(round_index + 1), display)

    async def finish(self, display: Notes) -> bool:
        return await self._until_trained(len(self.rounds) - 1, display)

    async def close(self) -> None:
        await end_tasks(self._trainings.values())

    def _begin(self, round_index: int, display: Notes, ray_address: str | None) -> None:
        shown = self._shown = self._shown or _Beside(display)
        before = self._trainings.get(round_index - 1)
        task = asyncio.create_task(self._train(round_index, before, shown, ray_address))
        task.add_done_callback(lambda done: self._say_failure(done, round_index, shown))
        self._trainings[round_index] = task

    async def _train(
        self, round_index: int, before: asyncio.Task[None] | None, shown: _Beside, ray_address: str | None
    ) -> None:
        if before is not None:
            await asyncio.shield(before)
        if weights_after(self._directory, round_index) is not None:
            return
        began = time.monotonic()
        shown.note(f"learning from round {round_index} beside what is generated")
        assert self._takes is not None
        await train_after_round(
            self._directory, round_index, shown, self._round_leases, address=ray_address, beside=self._takes
        )
        shown.note(f"learned from round {round_index} in {time.monotonic() - began:.0f} s")

    def _say_failure(self, done: asyncio.Task[None], round_index: int, shown: _Beside) -> None:
        if done.cancelled() or (error := done.exception()) is None or shown.is_waited_for:
            return
        if isinstance(error, BerryError) and not self._trainings_before_failed(round_index):
            shown.note(f"note: learning from round {round_index} has failed: {error}; the run ends after this round")

    def _trainings_before_failed(self, round_index: int) -> bool:
        before = self._trainings.get(round_index - 1)
        return before is not None and not before.cancelled() and before.done() and before.exception() is not None

    async def _until_trained(self, trainings: int, display: Notes) -> bool:
        """Waits until so many rounds were learned from; False when a signal asked to stop. Raises what a training has
        raised, of these or later ones."""
        failed = [t for t in self._trainings.values() if t.done() and not t.cancelled() and t.exception() is not None]
        if failed:
            failed[0].result()
        awaited = {number: task for number, task in self._trainings.items() if number < trainings and not task.done()}
        if not awaited:
            return True
        display.phase(f"waiting for what is learned from round {max(awaited)}")
        stopped = asyncio.Event()
        assert self._shown is not None
        self._shown.is_waited_for = True

        async def all_of_them() -> None:
            for task in awaited.values():
                await asyncio.shield(task)

        try:
            with on_stop(stopped.set):
                is_done = await unless(stopped, all_of_them())
        finally:
            self._shown.is_waited_for = False
        if not is_done:
            display.note("stopping; the training goes on from its last checkpoint in the next run")
        return is_done
