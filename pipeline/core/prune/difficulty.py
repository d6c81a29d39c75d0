"""Keep problems whose pass rate lies in [low, high]: neither hopeless nor trivial. Drops as `difficulty`.

The pass rate is over all verified trajectories of the problem, those dropped by earlier rules too; what could not be
checked counts in neither. Degenerate case: fewer than `min_checked` verified ones decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from berry.pipeline.config.pruning import DifficultyRule
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory
from berry.verifiers.base import Outcome


class ByDifficulty:
    def __init__(self, config: DifficultyRule) -> None:
        self.config = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        verdicts = [t.verdict for t in pool.everyone if t.verdict is not None]
        checked = [verdict.passed for verdict in verdicts if verdict.outcome is not Outcome.UNVERIFIABLE]
        if len(checked) < self.config.min_checked:
            return {}
        if self.config.low <= sum(checked) / len(checked) <= self.config.high:
            return {}
        return {t.trajectory_id: DropReason.DIFFICULTY for t in alive}
