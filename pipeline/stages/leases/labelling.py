"""Makes the leases of what another engine labels: of a stored run, or of a run that goes on meanwhile.

    committed leases of the labelled run ─► LabelledLeases ─► the same leases, for the engine that completes
    a lease of the student is committed ─► TaughtLeases.settle ─► CommittedLeases.take ─► it, for the teacher

A lease that labels has the number and the problems of the one it labels, and is committed in the labels' own directory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import replace

from berry.pipeline.config.run import RunConfig
from berry.pipeline.stages.leases.lease import IteratedLeases, Lease, LeaseReport
from berry.pipeline.stages.leases.partition import (
    AllBut,
    AllLeases,
    left_out,
    open_round,
    run_leases,
    searched_leases,
)
from berry.pipeline.storage.files import Location, locate, under
from berry.pipeline.storage.run.directory import REVISIONS, RunDir

LABELS = "labels"
"""The revision of a run that holds what its teacher labels."""


def labels_place(run_dir: str) -> str:
    """Where the labels of a run's teacher are."""
    return under(run_dir, f"{REVISIONS}/{LABELS}")


def work_of(config: RunConfig, location: Location, engine: str) -> tuple[RunConfig, Location]:
    """What an engine works at, and where it commits that: the run itself, or the labels of it."""
    labelling = config.labelling
    if labelling is None or labelling.annotation is None or labelling.annotation.engine != engine:
        return config, location
    return labelling, locate(labels_place(location.url))


class LabelledLeases(AllLeases):
    """The leases of a run that labels another: those that the other has committed (`RoundLeases`)."""

    def __init__(self, run: RunDir, config: RunConfig, source: RunDir) -> None:
        super().__init__(run, config)
        assert config.annotation is not None
        self._labelled = source
        self._engine = config.annotation.engine or ""

    def begin_round(self, round_index: int) -> None:
        """Removes what no commit covers, and begins with the first lease that is to be labelled."""
        self.committed_before, journalled = open_round(self._run, round_index)
        wanted = AllBut(self._labelled.committed(round_index) - self.committed_before)
        searched = searched_leases(self._labelled, self._config, round_index, skip=wanted, left_out=left_out(self._run))
        leases = (replace(one, engine=self._engine, resumed=one.number in journalled) for one in searched)
        self._sources = {self._engine: IteratedLeases(leases)}


class CommittedLeases:
    """The leases that a run has committed and its teacher has not labelled yet (`LeaseSource`), as they come: first
    those of earlier drivers, then those that are added, until it is closed."""

    def __init__(self, engine: str, before: Iterator[Lease], journalled: Collection[int]) -> None:
        """`before`: leases that were committed when the driver began; `journalled`: those whose labelling was begun."""
        self._engine = engine
        self._before = IteratedLeases(before)
        self._journalled = journalled
        self._now: deque[Lease] = deque()
        self._is_over = False

    @property
    def may_have_more(self) -> bool:
        return self._before.may_have_more or bool(self._now) or not self._is_over

    def take(self, engine: str = "") -> Lease | None:
        """The next lease, for the engine that completes; None where none is committed that it has not had."""
        del engine
        lease = self._before.take() or (self._now.popleft() if self._now else None)
        if lease is None:
            return None
        resumed = lease.number in self._journalled
        return Lease(lease.number, lease.problems, resumed=resumed, round_index=lease.round_index, engine=self._engine)

    def settle(self, report: LeaseReport) -> None:
        """Nothing follows from it."""

    def add(self, lease: Lease) -> None:
        """Takes a lease that the run has committed."""
        self._now.append(lease)

    def close(self) -> None:
        """No lease will be added any more."""
        self._is_over = True


class TaughtLeases(AllLeases):
    """The leases of a run whose steps a teacher labels (`RoundLeases`). `labels`: the teacher's, once a round began."""

    def __init__(self, run: RunDir, config: RunConfig, labels: RunDir) -> None:
        super().__init__(run, config)
        labelling = config.labelling
        assert labelling is not None
        assert labelling.annotation is not None
        self._labels_run = labels
        self.teacher = labelling.annotation.engine or ""
        self.labels = CommittedLeases(self.teacher, iter(()), ())
        self.labelled_before: set[int] = set()
        self._flying: dict[int, Lease] = {}

    def take(self, engine: str = "") -> Lease | None:
        lease = super().take(engine)
        if lease is not None:
            self._flying[lease.number] = lease
        return lease

    def settle(self, report: LeaseReport) -> None:
        super().settle(report)
        self.labels.add(self._flying.pop(report.lease))

    def begin_round(self, round_index: int) -> None:
        super().begin_round(round_index)
        del self._sources[self.teacher]  # it solves nothing
        self._flying = {}
        self.labelled_before, journalled = open_round(self._labels_run, round_index)
        wanted = AllBut(self.committed_before - self.labelled_before)
        before = run_leases(self._config, skip=wanted, left_out=left_out(self._run), round_index=round_index)
        self.labels = CommittedLeases(self.teacher, before, journalled)
