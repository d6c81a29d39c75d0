"""Configures how trees grow: policy, steps, sampling, budgets."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.rollout.environment import Environment
from berry.pipeline.config.sections.rollout.modes import Mode, check_modes, check_names, complete_modes
from berry.pipeline.config.sections.rollout.policies import Policy, default_policy
from berry.pipeline.config.sections.rollout.sampling import Budget, SamplingConfig, Thinking
from berry.pipeline.config.sections.rollout.tools import Calls, FencedCalls, Tool


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


StepConfig = Annotated[DelimiterStep | TokensStep | RegexStep, Field(discriminator="type")]


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
    prm: str | None = None
    """Which of `rewards.models` scores steps, wherever `prm` is asked; null: `rewards.prm`."""
    orm: str | None = None
    """Which of `rewards.models` scores whole trajectories; null: `rewards.orm`."""
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
    modes: tuple[Mode, ...] = ()
    """Named settings that problems are searched in, in place of those above: a share of the problems in each, or all of
    them in each; empty: all are searched as it stands above."""

    @model_validator(mode="before")
    @classmethod
    def _modes_are_whole(cls, raw: Any) -> Any:
        return complete_modes(raw)

    @field_validator("tools")
    @classmethod
    def _names_differ(cls, tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
        check_names(tools)
        return tools

    def in_mode(self, name: str) -> Rollout:
        """How problems are searched in the mode of this name. Raises KeyError where there is none."""
        mode = next((mode for mode in self.modes if mode.name == name), None)
        if mode is None:
            raise KeyError(name)
        return self.model_copy(update={**mode.settings, "modes": ()})

    @property
    def each_mode(self) -> tuple[Rollout, ...]:
        """How problems are searched in each mode, in their order; without modes the one way there is."""
        return tuple(self.in_mode(mode.name) for mode in self.modes) or (self,)

    @property
    def scorers(self) -> dict[str, str]:
        """Names among `rewards.models` of what answers as `prm` and as `orm`, where they are not the run's own."""
        return {what: name for what, name in (("prm", self.prm), ("orm", self.orm)) if name is not None}

    @property
    def waiting_sessions(self) -> int:
        """Sessions of tools and of the environment that each host keeps between calls. A tool of several modes counts
        once."""
        tools = {tool.model_dump_json(): tool for rollout in self.each_mode for tool in rollout.tools}
        return sum(tool.sessions for tool in tools.values()) + (self.environment.sessions if self.environment else 0)

    @property
    def is_interactive(self) -> bool:
        """Whether something answers the model within a response, in some mode at least: tools, an environment."""
        if self.environment is not None or not self.modes:
            return self.environment is not None or bool(self.tools)
        return any(rollout.tools for rollout in self.each_mode)

    @model_validator(mode="after")
    def _modes_fit(self) -> Rollout:
        check_modes(self.modes)
        return self

    @model_validator(mode="after")
    def _tag_has_one_tool(self) -> Rollout:
        for rollout in self.each_mode:
            if rollout.calls.type == "tag" and len(rollout.tools) > 1:
                raise ValueError(
                    f"calls of type tag are for one tool, and there are {len(rollout.tools)}: use fenced or tool_call"
                )
        return self
