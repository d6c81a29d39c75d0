"""Keep the first `most` trajectories of a problem. Drops as `over_quota`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class KeepFirstRule(RuleConfig):
    """Keeps the first few trajectories of each problem."""

    type: Literal["keep_first"] = "keep_first"
    most: int = Field(default=1, ge=1)
    """Trajectories a problem."""


class KeepFirst:
    """Gives a reason for each trajectory that is dropped."""

    config: ClassVar = KeepFirstRule

    def __init__(self, config: KeepFirstRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Reasons by trajectory, for those behind the first `most`."""
        return {t.trajectory_id: DropReason.OVER_QUOTA for t in alive[self.rule.most :]}
