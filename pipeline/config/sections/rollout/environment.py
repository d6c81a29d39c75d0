"""Configures an environment: what answers the model after each of its turns, until it ends the episode."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.tools import Confined
from berry.pipeline.config.sections.user_class import UserClass


class Environment(Confined, UserClass):
    """A class of your own, run in the jail: `Environment(problem, seed, **options)` once a session, `turn(said)` after
    each turn of the model, which gives the next turn or ends the episode. docs/tools.md has the protocol."""

    max_turns: int = Field(default=8, ge=1)
    """Turns that the model may have in an episode; one that would have more is dropped as `too_many_turns`."""
    roles: tuple[Literal["user", "tool"], ...] = Field(default=("user",), min_length=1)
    """Roles in which the environment may speak; the chat template is tried on them before the run."""
    passes_from: float = Field(default=1.0)
    """Reward from which an episode counts as passed."""
