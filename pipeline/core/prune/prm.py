"""Keep trajectories whose steps the process reward model likes: min, last or product of the step scores. Drops as
`low_prm`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from berry.pipeline.config.pruning import PrmRule
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class ByPrm:
    def __init__(self, config: PrmRule) -> None:
        self.config = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        return {t.trajectory_id: DropReason.LOW_PRM for t in alive if not self._liked(t)}

    def _liked(self, trajectory: Trajectory) -> bool:
        score = {"min": trajectory.prm_min, "last": trajectory.prm_last, "prod": trajectory.prm_prod}[self.config.over]
        return self.config.unscored == "keep" if score is None else score >= self.config.at_least
