"""Configures the synthetic engine: a process of known truth instead of a model. Everything it makes is labelled
synthetic."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from berry.pipeline.config.reading.base import Section

MOST_TAIL = 14.9
"""Of a lognormal: its 99% quantile over its mean, at most."""


class SyntheticEngine(Section):
    """A random process over reasoning steps whose true value at every prefix is known, at a speed of choice. For tests
    and for measuring the pipeline without a model; not a language model."""

    type: Literal["synthetic"] = "synthetic"
    error_rate: tuple[float, float] = (0.05, 0.35)
    """Range of the mean chance of an error a step; each problem has its own, some steps are harder than others."""
    repair_rate: tuple[float, float] = (0.0, 0.2)
    """Range of the chance a step that an error made earlier is undone; each problem has its own."""
    hard_share: float = Field(default=0.25, ge=0, le=1)
    """Share of steps that are hard: where the errors and the entropy are."""
    filler_tokens: tuple[int, int] = (2, 8)
    """Range of words without meaning a step."""
    tell: float = Field(default=0.0, ge=0, le=1)
    """Above 0, steps say behind their result whether they are sure of it: this share of them knows, the others toss a
    coin. Without it a text shows that it is wrong to those alone who can add, which small value models do not learn."""
    call_share: float = Field(default=0.0, ge=0, le=1)
    """Share of steps whose result is left to a tool, in a fenced block of Python, and read from its answer; such steps
    make no errors of their own. For runs with `rollout.tools`."""
    call_mean_ms: float | None = Field(default=None, gt=0)
    """Mean time that a call sleeps before it computes, in ms; None: it does not. Calls take lognormal times."""
    call_p99_ms: float | None = Field(default=None, gt=0)
    """Time that 1% of the calls sleep longer than, in ms; None: 4.6 times the mean."""
    empty_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of responses without a token: a fault to test with."""
    endless_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of responses that never end: a fault to test with."""
    tokens_per_s: float | None = Field(default=None, gt=0)
    """Decoding speed of each running sequence. None: as fast as this host can, without a queue."""
    prefill_tokens_per_s: float | None = Field(default=None, gt=0)
    """Speed of reading prompt tokens that are not in the cache. None: no time."""
    max_num_seqs: int = Field(default=64, ge=1)
    """Sequences running at once; more wait in order of priority. Without meaning if tokens_per_s is None."""
    max_model_len: int = Field(default=4096, ge=64)
    """Longest prompt and response together, in tokens."""
    block_size: int = Field(default=16, ge=1)
    """Tokens a block of the simulated prefix cache; only full blocks are shared."""
    cache_tokens: int = Field(default=262144, ge=0)
    """Size of the simulated prefix cache in tokens; 0: none."""

    @model_validator(mode="after")
    def _ranges(self) -> SyntheticEngine:
        for key in ("error_rate", "repair_rate"):
            low, high = getattr(self, key)
            if not 0 <= low <= high <= 1:
                raise ValueError(f"{key} must be [low, high] with 0 <= low <= high <= 1, got {[low, high]}")
        low, high = self.filler_tokens
        if not 0 <= low <= high:
            raise ValueError(f"filler_tokens must be [low, high] with 0 <= low <= high, got {[low, high]}")
        if self.call_p99_ms is not None and self.call_mean_ms is None:
            raise ValueError("call_p99_ms needs call_mean_ms, the mean of the same times")
        if self.call_mean_ms is not None and self.call_p99_ms is not None:
            tail = self.call_p99_ms / self.call_mean_ms
            if not 1 <= tail <= MOST_TAIL:
                raise ValueError(
                    f"call_p99_ms must be 1 to {MOST_TAIL:g} times call_mean_ms (a lognormal), got {tail:.3g} times"
                )
        if self.empty_rate + self.endless_rate > 1:
            raise ValueError("empty_rate and endless_rate are shares of the same responses: their sum is above 1")
        return self
