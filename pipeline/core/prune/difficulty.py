"""Keeps problems whose pass rate lies in [low, high]: neither hopeless nor trivial. Drops as `difficulty`.

The pass rate is the unbiased estimate of the value of the problem's root (core/values), over all its trajectories,
those dropped by earlier rules too. Where branches were cut, how much stands behind a rate is a matter of luck: one
chain that was spared in the stead of twenty says little. There a problem goes only if the whole 95% interval of its
rate lies outside the band; with `certain` so it is everywhere. Degenerate cases: a problem without such an estimate is
left alone (a plain share would be that of what cuts or early stops have left), and so is one with fewer than
`min_checked` verified trajectories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.core.values.estimate import is_known
from berry.pipeline.records import DropReason, Trajectory


class DifficultyRule(RuleConfig):
    """Keep problems whose pass rate is in a band; those without an unbiased one are left alone."""

    type: Literal["difficulty"] = "difficulty"
    low: float = Field(default=0.0, ge=0, le=1)
    """Least pass rate."""
    high: float = Field(default=1.0, ge=0, le=1)
    """Greatest pass rate."""
    certain: bool = False
    """Drop a problem only where the whole 95% interval of its pass rate lies outside the band; where branches were cut
    it is so in any case."""
    min_checked: int = Field(default=1, ge=1)
    """Problems with fewer verified trajectories are left alone."""

    @model_validator(mode="after")
    def _band(self) -> DifficultyRule:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


class ByDifficulty:
    """Drops all of a problem whose pass rate is outside the band."""

    config: ClassVar = DifficultyRule

    def __init__(self, config: DifficultyRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Drops all of a problem whose pass rate lies outside [low, high]; none where too few leaves were checked to
        tell."""
        checked = sum(t.verdict is not None and is_known(t.verdict) for t in pool.everyone)
        value = pool.value
        if value.value is None or checked < self.rule.min_checked:
            return {}
        cut = value.mass != 1.0 or any(t.drop_reason is DropReason.CUT_IN_LOOP for t in pool.everyone)
        low, high = (value.low, value.high) if cut or self.rule.certain else (value.value, value.value)
        if low <= self.rule.high and high >= self.rule.low:
            return {}
        return {t.trajectory_id: DropReason.DIFFICULTY for t in alive}
