"""One configuration class a search policy; `type` picks it. The policies themselves are in `pipeline/core/search/`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.base import Section


class BestOfN(Section):
    """Independent samples (self-consistency; Wang et al. 2022)."""

    type: Literal["best_of_n"] = "best_of_n"
    n: int = Field(default=8, ge=1)
    """Trajectories a problem."""


class Fixed(Section):
    """A tree with set branch factors per depth."""

    type: Literal["fixed"] = "fixed"
    branching: tuple[int, ...] = (4, 2, 2)
    """Children of every node at depth 0, 1, 2 …; past the list each node has one child."""


class Entropy(Section):
    """Full chains first, then forks at the highest-entropy tokens (EPTree of TreeRL, Hou et al. 2025)."""

    type: Literal["entropy"] = "entropy"
    chains: int = Field(default=4, ge=1)
    """M: independent chains a problem at the start."""
    forks: int = Field(default=2, ge=1)
    """N: highest-entropy tokens of each tree to fork at, each round."""
    rounds: int = Field(default=1, ge=0)
    """L: rounds of forking."""
    branches: int = Field(default=2, ge=1)
    """T: new continuations at each fork."""


Policy = Annotated[BestOfN | Fixed | Entropy, Field(discriminator="type")]
