"""Adds up what a run has committed and lost: the figures of its progress, summary and metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

from berry.pipeline.core import ledger
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases.lease import LeaseReport, add_modes


@dataclass(slots=True)
class RoundTotals:
    """Counts over the committed leases of a round, those of earlier drivers included where they were added; losses
    are of this driver alone."""

    leases: int = 0
    problems: int = 0
    solved: int = 0  # problems with at least one passing trajectory
    trajectories: int = 0
    kept: int = 0
    drops: dict[str, int] = field(default_factory=dict)  # trajectories by the reason they were dropped for
    ledger: TokenLedger = field(default_factory=TokenLedger)
    retried_leases: int = 0
    lost_workers: int = 0
    modes: dict[str, dict[str, int]] = field(default_factory=dict)  # as in `LeaseReport.modes`
    engines: dict[str, dict[str, int]] = field(default_factory=dict)  # of each engine of several the same counts

    def add(self, report: LeaseReport) -> None:
        """Adds a lease; one whose result does not count adds nothing."""
        if report.late:
            return
        self.leases += 1
        self.problems += report.problems
        self.solved += report.solved
        self.trajectories += report.trajectories
        self.kept += report.kept
        self.ledger = ledger.add([self.ledger, report.ledger])
        add_modes(self.modes, report.modes)
        if report.engine:
            counts = {name: getattr(report, name) for name in ("problems", "solved", "trajectories", "kept")}
            add_modes(self.engines, {report.engine: {**counts, "generated": report.ledger.generated}})
        for reason, count in report.drops.items():
            self.drops[reason] = self.drops.get(reason, 0) + count
