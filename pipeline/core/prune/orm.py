"""Keep what the outcome reward model likes: at least a threshold, then the `top_k` best of the problem.

Drops as `low_orm`, by rank as `over_quota`. Ties go to the earlier trajectory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from berry.pipeline.config.pruning import OrmRule
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class ByOrm:
    def __init__(self, config: OrmRule) -> None:
        self.config = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        config = self.config
        dropped: dict[str, DropReason] = {}
        scored: list[tuple[float, Trajectory]] = []
        for trajectory in alive:
            if trajectory.orm is None:
                if config.unscored == "drop":
                    dropped[trajectory.trajectory_id] = DropReason.LOW_ORM
            elif config.at_least is not None and trajectory.orm < config.at_least:
                dropped[trajectory.trajectory_id] = DropReason.LOW_ORM
            else:
                scored.append((trajectory.orm, trajectory))
        if config.top_k is not None:
            ranked = sorted(scored, key=lambda pair: -pair[0])
            dropped.update((t.trajectory_id, DropReason.OVER_QUOTA) for _, t in ranked[config.top_k :])
        return dropped
