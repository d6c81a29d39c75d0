"""How trees grow: policy, steps, sampling, budgets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Section
from pipeline.config.policies import BestOfN, Policy


class DelimiterStep(Section):
    """A step ends with one of these strings."""

    type: Literal["delimiter"] = "delimiter"
    delimiters: tuple[str, ...] = Field(("\n\n",), min_length=1)


class TokensStep(Section):
    """A step is a fixed number of tokens."""

    type: Literal["tokens"] = "tokens"
    tokens: int = Field(64, ge=1)


class RegexStep(Section):
    """A step ends where this regular expression matches."""

    type: Literal["regex"] = "regex"
    pattern: str


Step = Annotated[DelimiterStep | TokensStep | RegexStep, Field(discriminator="type")]


class SamplingConfig(Section):
    """How tokens are drawn."""

    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    min_p: float = Field(0.0, ge=0, le=1)
    max_tokens: int = Field(256, ge=1)
    """Longest trajectory, in tokens after the prompt."""
    top_logprobs: int = Field(5, ge=1, le=20)
    """Alternatives a token from which entropies are estimated, where a policy needs them."""


class Budget(Section):
    """Limits a problem; None: no limit."""

    max_leaves: int | None = Field(None, ge=1)
    max_tokens: int | None = Field(None, ge=1)
    max_depth: int = Field(64, ge=1)
    stop_after_correct: int | None = Field(None, ge=1)
    """Stop the problem when this many trajectories have passed."""
    hopeless_after: int | None = Field(None, ge=1)
    """Stop the problem when this many leaves were verified and none passed."""


class Rollout(Section):
    policy: Policy = BestOfN()
    step: Step = DelimiterStep()
    sampling: SamplingConfig = SamplingConfig()
    budget: Budget = Budget()
    problems_in_flight: int | None = Field(None, ge=1)
    """Searches at once on one engine; None: enough to keep it full."""
    system_prompt: str | None = None
    """Put before every problem that has no system message of its own."""
