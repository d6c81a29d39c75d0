"""Keeps trajectories whose steps the process reward model scores high: min, last or product of the step scores. Drops
as `low_prm`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class PrmRule(RuleConfig):
    """Keep trajectories whose steps the process reward model likes."""

    type: Literal["prm"] = "prm"
    at_least: float
    """Least score."""
    over: Literal["min", "last", "prod"] = "min"
    """The worst step's score, the last one's, or the product of all."""
    unscored: Literal["drop", "keep"] = "drop"
    """Trajectories without a score."""


class ByPrm:
    """Drops responses with a step that the PRM rates low."""

    config: ClassVar = PrmRule

    def __init__(self, config: PrmRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Drops each trajectory whose steps score too low."""
        return {t.trajectory_id: DropReason.LOW_PRM for t in alive if not self._liked(t)}

    def _liked(self, trajectory: Trajectory) -> bool:
        score = {"min": trajectory.prm_min, "last": trajectory.prm_last, "prod": trajectory.prm_prod}[self.rule.over]
        return self.rule.unscored == "keep" if score is None else score >= self.rule.at_least
