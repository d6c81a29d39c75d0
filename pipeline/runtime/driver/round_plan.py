"""Says which rounds a run has, how many leases each holds, and with which weights it is run.

RoundPlan ─► rounds, leases, is_open, set_weights, end_round ─► Driver
   ├── TrainedRounds    one round after the other, with training between them; OverlappedRounds with training beside
   │                    the next round (overlapped_rounds.py)
   └── LabelledRounds   the committed rounds of another run, each with the weights that it was run with
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.annotation import Annotation
from berry.pipeline.core.seeds import digest
from berry.pipeline.errors import InputError
from berry.pipeline.runtime.driver.train_process import Notes, check_before_rounds, train_after_round
from berry.pipeline.stages.leases.partition import RoundLeases
from berry.pipeline.stages.training.after_round import demands_packing
from berry.pipeline.storage.run.directory import RunDir, revised_run
from berry.pipeline.storage.run.weights_file import (
    RunWeights,
    Weights,
    address,
    read_weights,
    weights_after,
    weights_of_round,
    write_weights,
)


class RoundPlan(Protocol):
    """The rounds of a run, in order."""

    rounds: Sequence[int]

    def leases(self, round_index: int) -> int:
        """How many leases a round has."""
        ...

    def is_open(self, round_index: int) -> bool:
        """Whether something of a round is left to do."""
        ...

    async def check(self, display: Notes) -> bool:
        """Refuses, before anything is started, what would only be found out after a round; False when a signal asked
        to stop."""
        ...

    async def set_weights(self, round_index: int) -> None:
        """Names the weights that serve in a round in the run directory, unless newer ones were pushed."""
        ...

    async def end_round(self, round_index: int, display: Notes, ray_address: str | None) -> bool:
        """Does what comes between a round and the next; False when a signal asked to stop. `ray_address`: of the Ray
        that the run's actors are on, None where they have ended or there are none."""
        ...

    async def finish(self, display: Notes) -> bool:
        """Does what is left after the last round; False when a signal asked to stop."""
        ...

    async def close(self) -> None:
        """Ends what goes on beside the rounds. The next driver goes on with it."""
        ...


class TrainedRounds:
    """The rounds of a run that learns from each before it begins the next (`RoundPlan`)."""

    def __init__(
        self, directory: RunDir, config: RunConfig, leases: RoundLeases, *, total: int, address: str | None
    ) -> None:
        """`total`: leases of a round; `address`: of the Ray cluster, None where one is started here."""
        self._directory = directory
        self._address = address
        self._round_leases = leases
        self._demands = demands_packing(config)
        self._total = total
        self.rounds: Sequence[int] = range(1 if config.rounds is None else config.rounds.count)

    def leases(self, round_index: int) -> int:
        del round_index
        return self._total

    def is_open(self, round_index: int) -> bool:
        if len(self._directory.committed(round_index)) < self._total:
            return True
        return round_index != self.rounds[-1] and weights_after(self._directory, round_index) is None

    async def check(self, display: Notes) -> bool:
        return not self._demands or await check_before_rounds(self._directory, display)

    async def set_weights(self, round_index: int) -> None:
        location = self._directory.location
        now = await asyncio.to_thread(read_weights, location)
        if now.round_index >= round_index:
            return
        after = await asyncio.to_thread(weights_of_round, self._directory, round_index)
        assert after is not None, f"the training before round {round_index} has not ended"
        await asyncio.to_thread(write_weights, location, after)

    async def end_round(self, round_index: int, display: Notes, ray_address: str | None) -> bool:
        del ray_address  # of what may end before the training begins
        return await train_after_round(self._directory, round_index, display, self._round_leases, address=self._address)

    async def finish(self, display: Notes) -> bool:
        del display
        return True

    async def close(self) -> None:
        return None


def labelled_rounds(source: RunDir, annotation: Annotation) -> list[int]:
    """The rounds of `source` that are to be labelled. Raises InputError where nothing is committed in one that was
    asked for, or in any."""
    committed = [r for r in source.rounds() if source.committed(r)]
    missing = set(annotation.rounds or ()) - set(committed)
    if missing or not committed:
        which = f"round {min(missing)}" if missing else "the run"
        raise InputError(f"{source.location.show()}: nothing of {which} is committed yet: `berry run` first")
    return committed if annotation.rounds is None else sorted(set(annotation.rounds))


class LabelledRounds:
    """The rounds of the run that `directory`, a revision of it, labels (`RoundPlan`)."""

    def __init__(self, directory: RunDir, config: RunConfig) -> None:
        assert config.annotation is not None
        self._directory = directory
        self._source = revised_run(directory.location)
        self._weights = config.annotation.weights
        self.rounds: Sequence[int] = labelled_rounds(self._source, config.annotation)

    async def check(self, display: Notes) -> bool:
        del display
        return True

    def leases(self, round_index: int) -> int:
        return len(self._source.committed(round_index))

    def is_open(self, round_index: int) -> bool:
        return len(self._directory.committed(round_index)) < self.leases(round_index)

    async def set_weights(self, round_index: int) -> None:
        weights = await asyncio.to_thread(self._weights_of, round_index)
        await asyncio.to_thread(write_weights, self._directory.location, weights)

    def _weights_of(self, round_index: int) -> RunWeights:
        """Those that were asked for, else those that the training before the round ended with."""
        if self._weights is not None:
            return RunWeights(round_index, Weights(self._weights, f"labels-{digest(self._weights).hex()[:8]}"))
        before = weights_of_round(self._source, round_index)
        if before is None or before.engine is None:
            return RunWeights(round_index)
        folder = address(self._source.location, before.engine)
        return RunWeights(round_index, replace(before.engine, folder=folder))

    async def end_round(self, round_index: int, display: Notes, ray_address: str | None) -> bool:
        del round_index, display, ray_address
        return True

    async def finish(self, display: Notes) -> bool:
        del display
        return True

    async def close(self) -> None:
        return None
