"""Configures how trajectories are drawn: sampling, the tags of thinking, and the limits of a problem."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from berry.pipeline.config.reading.base import Section


class Thinking(Section):
    """Tags of reasoning models: answers are read after `close`, and steps are cut there alone or inside
    too."""

    open: str = Field(default="<think>", min_length=1)
    """Tag that begins the thinking."""
    close: str = Field(default="</think>", min_length=1)
    """Tag that ends it."""
    steps: Literal["after", "everywhere"] = "after"
    """`after`: all of the thinking is one step; `everywhere`: it is cut into steps like the rest."""
    opened_by_prompt: bool = False
    """The chat template opens the tag, so that a response starts inside it."""


class SamplingConfig(Section):
    """How tokens are drawn."""

    temperature: float = Field(default=1.0, ge=0)
    """Temperature of the softmax; 0: always the likeliest token."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Least probability mass of the likeliest tokens that are drawn from; 1: all."""
    top_k: int = Field(default=0, ge=0)
    """Likeliest tokens that are drawn from; 0: all."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Least probability of a token, as a share of the likeliest one's; 0: any."""
    max_tokens: int = Field(default=256, ge=1)
    """Longest trajectory, in tokens after the prompt."""
    top_logprobs: int = Field(default=5, ge=1, le=20)
    """Alternatives a token from which entropies are estimated, where a policy needs them."""


class Budget(Section):
    """Limits a problem; None: no limit."""

    max_leaves: int | None = Field(default=None, ge=1)
    """Trajectories of a problem."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Tokens generated for a problem, those of branches given up included."""
    max_wall_s: float | None = Field(default=None, gt=0)
    """Seconds from a search's beginning, or its resumption, after which it is stopped."""
    max_depth: int = Field(default=64, ge=1)
    """Steps after which a branch is grown to the end of its answer in one go. The steps of a solution that is annotated
    (`shepherd`, `omega`) are not bounded by it: all get their labels."""
    stop_after_correct: int | None = Field(default=None, ge=1)
    """Stop the problem when this many trajectories have passed. `best_of_n` without a cut counts its samples in the
    order in which they were drawn, and has values all the same from 2 on; other policies that verdicts may stop have
    none."""
    hopeless_after: int | None = Field(default=None, ge=1)
    """Stop the problem when this many leaves were verified and none passed; truncated ones and ones without an answer
    do not count."""
    pass_rate_band: tuple[float, float] | None = None
    """Stop the problem when its pass rate lies outside [low, high] beyond doubt (95% Wilson interval)."""
    band_after: int = Field(default=8, ge=1)
    """Verified leaves before the band is looked at."""
    max_in_flight: int | None = Field(default=None, ge=1)
    """Sequences of one problem generated at once; a small number lets early stops save more. None: no
    limit."""
    reallocate: bool = False
    """Give leaves that easy or hopeless problems did not need to those that lack correct trajectories."""

    @model_validator(mode="after")
    def _band_has_an_inside(self) -> Budget:
        if self.pass_rate_band is not None:
            low, high = self.pass_rate_band
            if not 0 <= low < high <= 1:
                raise ValueError(f"pass_rate_band must be [low, high] with 0 <= low < high <= 1, got {[low, high]}")
        return self
