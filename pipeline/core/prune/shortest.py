"""Keeps the k shortest correct trajectories of the problem. Longer correct ones drop as `not_shortest`; what did not
pass is left to the verdict rule. Ties go to the earlier trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class ShortestRule(RuleConfig):
    """Keep the k shortest correct trajectories of each problem."""

    type: Literal["shortest"] = "shortest"
    k: int = Field(default=4, ge=1)
    """Trajectories kept of a problem."""


class ShortestCorrect:
    """Keeps the shortest passing responses."""

    config: ClassVar = ShortestRule

    def __init__(self, config: ShortestRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Drops the correct trajectories beyond the k of fewest tokens; others are left to other rules."""
        correct = [t for t in alive if t.verdict is not None and t.verdict.passed]
        correct.sort(key=lambda t: t.n_tokens)
        return {t.trajectory_id: DropReason.NOT_SHORTEST for t in correct[self.rule.k :]}
