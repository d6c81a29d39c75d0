"""Configures the computing again of log-probabilities, by which silent corruption of an engine is found."""

from __future__ import annotations

from pydantic import Field

from berry.pipeline.config.reading.base import Section


class Recompute(Section):
    """A share of committed trajectories has its log-probabilities computed again, by the engine that made it and by
    another one. Needs engine.type vllm; with one engine only differences from itself can show."""

    share: float = Field(default=0.0, ge=0, le=1)
    """Of trajectories. Each costs reading its tokens twice, without the prefix cache. 0.01 is plenty for long runs."""
    tolerance: float | None = Field(default=None, gt=0)
    """Largest ordinary difference, in nats a token; null: learnt from engines' differences from themselves."""
    min_samples: int = Field(default=8, ge=1)
    """Comparisons of two engines before anything is said of them."""
    fence: bool = True
    """Give no further leases to an engine that disagrees with most others; false: only report."""
