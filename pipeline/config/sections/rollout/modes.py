"""Configures the modes that problems are searched in: thinking on or off, with tools or without, another prompt.

    rollout.modes ─► shares that sum to 1: each problem in one mode, drawn by its id (core/assignment/modes.py)
                 └─► all: each problem in every mode, a tree a mode

A mode says what differs; the rest is what `rollout` says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.rollout.policies import Policy
from berry.pipeline.config.sections.rollout.sampling import Budget, SamplingConfig, Thinking
from berry.pipeline.config.sections.rollout.tools import Calls, Tool

MERGED = ("sampling", "budget")
"""Sections of which a mode says single keys: the others are those of `rollout`."""
SUM_TOLERANCE = 1e-6  # of shares, which are written in decimals


class Mode(Section):
    """One way in which problems are searched. What it does not say is as in `rollout`."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=40)
    """What records, tables and `--mode` call it."""
    share: float | None = Field(default=None, gt=0, le=1)
    """Share of the problems that are searched in it; those of all modes sum to 1. Which ones follows from their ids and
    `seed`."""
    all: bool = False
    """Every problem is searched in it, as in all other modes: a tree for each."""
    engine: str | None = None
    """The one of `engines` that its problems are searched on; null: that of the mode's name, or the run's only one."""
    template_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the chat template; they go before those of `engine.template_args` and of the problem's source."""
    system_prompt: str | None = None
    """In place of `rollout.system_prompt`; empty: none; null: that one."""
    thinking: Thinking | Literal[False] | None = None
    """In place of `rollout.thinking`; false: no tags; null: those."""
    sampling: SamplingConfig | None = None
    """Keys of `rollout.sampling` that differ."""
    budget: Budget | None = None
    """Keys of `rollout.budget` that differ: `max_tokens` is what the mode may spend on a problem."""
    policy: Policy | None = None
    """In place of `rollout.policy`."""
    prm: str | None = None
    """In place of `rollout.prm`: which of `rewards.models` scores steps; null: that one."""
    orm: str | None = None
    """In place of `rollout.orm`."""
    tools: tuple[Tool, ...] | None = None
    """In place of `rollout.tools`; empty: none; null: those."""
    calls: Calls | None = None
    """In place of `rollout.calls`."""

    @field_validator("tools")
    @classmethod
    def _names_differ(cls, tools: tuple[Tool, ...] | None) -> tuple[Tool, ...] | None:
        check_names(tools or ())
        return tools

    @property
    def settings(self) -> dict[str, Any]:
        """What it says in place of the fields of `rollout`, by name."""
        names = ("system_prompt", "sampling", "budget", "policy", "prm", "orm", "tools", "calls")
        said = {name: value for name in names if (value := getattr(self, name)) is not None}
        return said if self.thinking is None else {**said, "thinking": self.thinking or None}


def check_names(tools: Sequence[Tool]) -> None:
    """Raises ValueError where two tools of one model have one name."""
    names = [tool.name for tool in tools]
    if len({name.lower() for name in names}) < len(names):
        raise ValueError(f"tools must have different names, got {', '.join(names)}: set `name`")


def complete_modes(raw: Any) -> Any:
    """Fills what modes leave out of `sampling` and `budget` with what `rollout` says, before anything is checked: a
    stored configuration is whole, and reads the same."""
    modes = raw.get("modes") if isinstance(raw, Mapping) else None
    if not isinstance(modes, (list, tuple)):
        return raw
    return {**raw, "modes": [_complete(mode, raw) for mode in modes]}


def _complete(mode: Any, rollout: Mapping[str, Any]) -> Any:
    if not isinstance(mode, Mapping):
        return mode
    whole = dict(mode)
    for name in MERGED:
        base, own = rollout.get(name), mode.get(name)
        base = base.model_dump() if isinstance(base, BaseModel) else base
        if isinstance(base, Mapping) and isinstance(own, Mapping):
            whole[name] = {**base, **own}
    return whole


def check_modes(modes: Sequence[Mode]) -> None:
    """Raises ValueError where names repeat, or it can't be said which problems are searched in which mode."""
    names = [mode.name for mode in modes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"modes: two are named {twice!r}; give each a name of its own")
    for mode in modes:
        if mode.all is (mode.share is not None):
            has = "a share and `all: true`: keep one" if mode.all else "neither a share nor `all: true`: give it one"
            raise ValueError(f"modes: {mode.name!r} has {has}")
    kinds = {mode.all for mode in modes}
    if len(kinds) > 1:
        shared = next(mode.name for mode in modes if not mode.all)
        raise ValueError(
            f"modes: {shared!r} has a share, and others have `all: true`; give every mode a share, or every one "
            "`all: true`"
        )
    total = math.fsum(mode.share or 0.0 for mode in modes)
    if kinds == {False} and abs(total - 1) > SUM_TOLERANCE:
        shares = ", ".join(f"{mode.name} {mode.share:g}" for mode in modes)
        raise ValueError(f"modes: shares must sum to 1, got {total:g} ({shares})")
