"""Configures how trees grow: policy, steps, sampling, budgets."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.environment import Environment
from berry.pipeline.config.sections.policies import Policy, default_policy
from berry.pipeline.config.sections.tools import Calls, FencedCalls, Tool


class DelimiterStep(Section):
    """A step ends with one of these strings."""

    type: Literal["delimiter"] = "delimiter"
    delimiters: tuple[str, ...] = Field(default=("\n\n",), min_length=1)
    """Strings that end a step; they stay in it."""


class TokensStep(Section):
    """A step is a fixed number of tokens."""

    type: Literal["tokens"] = "tokens"
    tokens: int = Field(default=64, ge=1)
    """Tokens a step."""


class RegexStep(Section):
    """A step ends where this regular expression matches."""

    type: Literal["regex"] = "regex"
    pattern: str = Field(min_length=1)
    """Python regular expression; its end ends the step."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if compiled.match(""):
            raise ValueError(f"{pattern!r} matches the empty text, so every token would end a step")
        return pattern


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


StepConfig = Annotated[DelimiterStep | TokensStep | RegexStep, Field(discriminator="type")]


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


class Cut(Section):
    """In-loop pruning: a branch whose score falls below a threshold is not grown further."""

    model: str = "prm"
    """Scorer asked at every step."""
    below: float = 0.1
    """Score below which a branch is cut."""
    from_step: int = Field(default=1, ge=1)
    """First step (1 = the first segment) at which a branch may be cut."""
    speculative: bool = True
    """Grow on while the scorer thinks and cancel if it says so; False waits for the score."""
    spare: float = Field(default=0.05, ge=0, le=1)
    """Share of the branches to be cut that go on all the same, drawn at random, and then weigh 1/spare: with it values
    and pass rates stay unbiased. 0: values are those of survivors, and no labels."""


class Rollout(Section):
    """How trees grow."""

    policy: Policy = Field(default_factory=default_policy)
    """Which search grows the trees."""
    step: StepConfig = DelimiterStep()
    """Where a step ends."""
    sampling: SamplingConfig = SamplingConfig()
    """How tokens are drawn."""
    budget: Budget = Budget()
    """Limits a problem."""
    cut: Cut | None = None
    """In-loop pruning by a scorer; null: none."""
    audit_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of problems whose trees are never pruned while they grow, so that `berry inspect` can say how often the
    cuts are right and what they save. They are drawn from the held-out ones, so that no reward model has learned from
    them: more than `rewards.training.heldout_share` has no effect. In a run of several rounds all held-out problems are
    searched so, without early stops too, and rounds are compared on them."""
    thinking: Thinking | None = None
    """Tags of a reasoning model; null: the whole response is steps and answer."""
    verify_truncated: bool = False
    """Check responses that ran out of tokens too; else they are dropped as `truncated` unchecked."""
    problems_in_flight: int | None = Field(default=None, ge=1)
    """Searches at once on one engine; None: enough to keep it full."""
    system_prompt: str | None = None
    """Put before every problem that has no system message of its own."""
    tools: tuple[Tool, ...] = ()
    """Tools that the model may call while it answers; a call ends a step, and its result is given, not sampled."""
    calls: Calls = FencedCalls()
    """How the model writes a call, and how often it may."""
    environment: Environment | None = None
    """What answers the model after each of its turns, in episodes of several; null: an answer is one turn."""

    @field_validator("tools")
    @classmethod
    def _names_differ(cls, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        names = [tool.name for tool in tools]
        if len({name.lower() for name in names}) < len(names):
            raise ValueError(f"tools must have different names, got {', '.join(names)}: set `name`")
        return tools

    @property
    def waiting_sessions(self) -> int:
        """Sessions of tools and of the environment that each host keeps between calls."""
        return sum(tool.sessions for tool in self.tools) + (self.environment.sessions if self.environment else 0)

    @property
    def is_interactive(self) -> bool:
        """Whether something answers the model within a response: tools, an environment."""
        return bool(self.tools) or self.environment is not None

    @model_validator(mode="after")
    def _tag_has_one_tool(self) -> Rollout:
        if self.calls.type == "tag" and len(self.tools) > 1:
            raise ValueError(
                f"calls of type tag are for one tool, and there are {len(self.tools)}: use fenced or tool_call"
            )
        return self
