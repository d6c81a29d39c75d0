"""Keeps responses of a wanted length in tokens, absolute or relative. Drops as `length`.

    min_tokens <= n <= max_tokens        min_ratio <= n / median(n of the problem's correct responses) <= max_ratio

Degenerate case: without a correct response there is nothing to be relative to, and only the absolute limits act.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class LengthRule(RuleConfig):
    """Keep responses of a wanted length, absolute or relative to the problem's correct ones."""

    type: Literal["length"] = "length"
    min_tokens: int | None = Field(default=None, ge=1)
    """Least tokens."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Most tokens."""
    min_ratio: float | None = Field(default=None, gt=0)
    """Least length over the median length of the problem's correct responses."""
    max_ratio: float | None = Field(default=None, gt=0)
    """Greatest length over the median length of the problem's correct responses."""

    @model_validator(mode="after")
    def _some_limit(self) -> LengthRule:
        if self.min_tokens is self.max_tokens is self.min_ratio is self.max_ratio is None:
            raise ValueError("a length rule needs one of min_tokens, max_tokens, min_ratio, max_ratio")
        for low, high in (("min_tokens", "max_tokens"), ("min_ratio", "max_ratio")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} ({least}) is above {high} ({most})")
        return self


class ByLength:
    """Drops responses that are too short or too long."""

    config: ClassVar = LengthRule

    def __init__(self, config: LengthRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Drops what is shorter or longer, in tokens, than the bounds; ratios are to the problem's median correct
        answer, and bind nothing where none is correct."""
        config = self.rule
        correct = [t.n_tokens for t in pool.everyone if t.verdict is not None and t.verdict.passed]
        usual = median(correct) if correct else None
        least = max(config.min_tokens or 0, (config.min_ratio or 0.0) * usual if usual else 0.0)
        most = min(
            config.max_tokens if config.max_tokens is not None else float("inf"),
            config.max_ratio * usual if config.max_ratio is not None and usual else float("inf"),
        )
        return {t.trajectory_id: DropReason.LENGTH for t in alive if not least <= t.n_tokens <= most}
