"""Keep problems whose pass rate lies in [low, high]: neither hopeless nor trivial. Drops as `difficulty`.

The pass rate is over all verified trajectories of the problem, those dropped by earlier rules too; what could not be
checked counts in neither. Degenerate case: fewer than `min_checked` verified ones decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from berry.pipeline.config.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory
from berry.verifiers.base import Outcome


class DifficultyRule(RuleConfig):
    """Keep problems whose pass rate is in a band."""

    type: Literal["difficulty"] = "difficulty"
    low: float = Field(default=0.0, ge=0, le=1)
    """Least pass rate."""
    high: float = Field(default=1.0, ge=0, le=1)
    """Greatest pass rate."""
    min_checked: int = Field(default=1, ge=1)
    """Problems with fewer verified trajectories are left alone."""

    @model_validator(mode="after")
    def _band(self) -> DifficultyRule:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


class ByDifficulty:
    config: ClassVar = DifficultyRule

    def __init__(self, config: DifficultyRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        verdicts = [t.verdict for t in pool.everyone if t.verdict is not None]
        checked = [verdict.passed for verdict in verdicts if verdict.outcome is not Outcome.UNVERIFIABLE]
        if len(checked) < self.rule.min_checked:
            return {}
        if self.rule.low <= sum(checked) / len(checked) <= self.rule.high:
            return {}
        return {t.trajectory_id: DropReason.DIFFICULTY for t in alive}
