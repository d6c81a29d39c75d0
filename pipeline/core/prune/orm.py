"""Keeps what the outcome reward model scores high: at least a threshold, then the `top_k` best of the problem.

Drops as `low_orm`, by rank as `over_quota`. Ties go to the earlier trajectory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class OrmRule(RuleConfig):
    """Keep what the outcome reward model likes: above a threshold, or the best few of each problem."""

    type: Literal["orm"] = "orm"
    at_least: float | None = None
    """Least score."""
    top_k: int | None = Field(default=None, ge=1)
    """Most trajectories of a problem, the best first."""
    unscored: Literal["drop", "keep"] = "drop"
    """Trajectories without a score."""

    @model_validator(mode="after")
    def _some_limit(self) -> OrmRule:
        if self.at_least is None and self.top_k is None:
            raise ValueError("an orm rule needs at_least or top_k")
        return self


class ByOrm:
    """Drops responses that the ORM rates low."""

    config: ClassVar = OrmRule

    def __init__(self, config: OrmRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Drops scores below `at_least`, then all but the `top_k` best; what has no score is dropped where `unscored`
        says so."""
        config = self.rule
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
