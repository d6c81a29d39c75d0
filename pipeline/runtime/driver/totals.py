"""totals: written by the move."""

from __future__ import annotations

from dataclasses import dataclass, field

from berry.pipeline.core import ledger
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases.lease import LeaseReport


@dataclass(slots=True)
class Totals:
    """What has been committed since the driver started, without what a resumed run had before."""

    leases: int = 0
    problems: int = 0
    solved: int = 0
    trajectories: int = 0
    kept: int = 0
    drops: dict[str, int] = field(default_factory=dict)
    ledger: TokenLedger = field(default_factory=TokenLedger)
    retried_leases: int = 0
    lost_workers: int = 0

    def add(self, report: LeaseReport) -> None:
        if report.late:
            return
        self.leases += 1
        self.problems += report.problems
        self.solved += report.solved
        self.trajectories += report.trajectories
        self.kept += report.kept
        self.ledger = ledger.add([self.ledger, report.ledger])
        for reason, count in report.drops.items():
            self.drops[reason] = self.drops.get(reason, 0) + count
