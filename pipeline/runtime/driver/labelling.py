"""Has a teacher label what a run commits, while the run goes on (`routing` of type teacher).

    student's Coordinator ─► LeaseReport ─► TaughtLeases.labels ─► teacher's Coordinator ─► RUN/revisions/labels

The labels are a revision of the run, as `berry annotate` makes one: what reads those reads them. Each lease of the run
is labelled once it is committed; a driver that dies is started again and labels what is not labelled yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.runtime.driver.coordinator import Coordinator
from berry.pipeline.runtime.driver.totals import RoundTotals
from berry.pipeline.runtime.worker import Worker
from berry.pipeline.stages.leases.labelling import TaughtLeases, labels_place
from berry.pipeline.stages.leases.lease import LeaseReport
from berry.pipeline.stages.leases.reports import ManifestWriter, read_reports
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.run.directory import RunDir, locked, prepare


def open_labels(run: RunDir, config: RunConfig, versions: dict[str, Any], files: dict[str, bytes]) -> RunDir:
    """The directory of a run's labels, made or opened to resume. Raises ConfigError where it holds other labels."""
    labelling = config.labelling
    assert labelling is not None
    location: Location = run.location
    place = labels_place(location.root if location.is_local else location.url)
    return prepare(place, labelling, versions, files)[0]


class Labelling:
    """The teacher's part of a run: its leases, their coordinator, what it has labelled."""

    def __init__(self, run: RunDir, leases: TaughtLeases, *, total: int, note: Callable[[str], None]) -> None:
        """`run`: where the labels are; `total`: leases of a round."""
        self.run = run
        self.engine = leases.teacher
        self._leases = leases
        self._total = total
        self._note = note
        self._coordinator = Coordinator(leases.labels, [])
        self._group: asyncio.TaskGroup | None = None

    def held(self) -> AbstractContextManager[object]:
        """Holds the labels' directory for this driver. Raises StorageError where another has it."""
        return locked(self.run, note=self._note)

    def is_open(self, round_index: int) -> bool:
        """Whether something of a round is left to label."""
        return len(self.run.committed(round_index)) < self._total

    def begin(self, round_index: int, workers: Sequence[Worker], on_loss: Callable[[str], None]) -> None:
        """Gets ready to label a round, once its leases have begun."""
        self._manifests = ManifestWriter(self.run.location, round_index)
        self._coordinator = Coordinator(self._leases.labels, [w for w in workers if w.engine_name == self.engine])
        for report in read_reports(
            self.run.location, round_index, committed=self._leases.labelled_before, into=self._manifests
        ):
            self._coordinator.totals.add(report)
        self._coordinator.on_report = self._manifests.add
        self._coordinator.on_loss = on_loss

    @property
    def totals(self) -> RoundTotals:
        """What is labelled of the round, and what the run had spent on it."""
        return self._coordinator.totals

    def join(self, worker: Worker) -> None:
        """Takes on a worker of the teacher's that came while the run goes on."""
        self._coordinator.join(worker)

    def stop(self) -> None:
        """Hands out nothing more."""
        self._coordinator.stop()

    async def run_beside(self, student: Coordinator) -> None:
        """Runs the student's leases to their commit, and labels each. Raises what either raises."""
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._coordinator.run())
            await student.run()
            self._leases.labels.close()
            await self._coordinator.wake()
        self._group = None

    def follow(self, report: LeaseReport) -> None:
        """Has a lease labelled that was committed just now."""
        del report  # the leases have been told of it
        if self._group is not None:
            self._group.create_task(self._coordinator.wake())

    def end(self) -> None:
        """Writes what leases reported, for the next driver; says what there is where all is labelled."""
        self._manifests.write()
        totals = self.totals
        if totals.leases >= self._total:
            drawn = totals.drops.get("annotation", 0)
            self._note(
                f"labels: {drawn:,} completions by {self.engine} label the steps of {totals.problems:,} problems: "
                f"{self.run.location.show()}"
            )

    def counts(self, student: RoundTotals) -> dict[str, int]:
        """The teacher's counts, as other engines have theirs: problems of which steps are labelled, completions, and
        the tokens of these."""
        totals = self.totals
        return {
            "problems": totals.problems,
            "solved": 0,
            "trajectories": totals.drops.get("annotation", 0),
            "kept": 0,
            "generated": max(0, totals.ledger.generated - student.ledger.generated),
        }
