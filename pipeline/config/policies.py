"""One configuration class a search policy; `type` picks it. The policies themselves are in `pipeline/core/search/`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from berry.pipeline.config.base import Section


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

    @field_validator("branching")
    @classmethod
    def _at_least_one_child(cls, branching: tuple[int, ...]) -> tuple[int, ...]:
        if not branching or min(branching) < 1:
            raise ValueError(f"branching must be a list of numbers >= 1, got {list(branching)}")
        return branching


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


class Value(Section):
    """Branches where the value model is least certain, gives up where it sees no hope, shares leaves out by value."""

    type: Literal["value"] = "value"
    leaves: int = Field(default=16, ge=1)
    """Trajectories a problem, shared out down the tree in proportion to value. More of them than a node's share are
    sampled for choice; where these all end their answers there are a few leaves more (`budget.max_leaves` is hard)."""
    chains: int = Field(default=4, ge=1)
    """First steps sampled a problem."""
    max_branch: int = Field(default=4, ge=1)
    """Next steps sampled from a node whose value is 1/2; one where it is 0 or 1."""
    cut_below: float = Field(default=0.02, ge=0, le=1)
    """A node of lower value is not grown further."""
    waves: int = Field(default=2, ge=1)
    """Times at most that leaves are given out from the root: the first, and again what cut branches left over."""
    scorer: str = "prm"
    """Value model asked at every step."""


class Beam(Section):
    """Step-level beam search: of all candidates at a depth the best few go on."""

    type: Literal["beam"] = "beam"
    beams: int = Field(default=4, ge=1)
    """Candidates kept at every depth."""
    width: int = Field(default=4, ge=1)
    """Next steps sampled for each of them."""
    scorer: str = "prm"
    """Value model that ranks the candidates."""


class Dvts(Section):
    """Diverse verifier tree search: independent subtrees, in each the best step goes on (Beeching et al. 2024)."""

    type: Literal["dvts"] = "dvts"
    subtrees: int = Field(default=4, ge=1)
    """Independent subtrees a problem."""
    width: int = Field(default=4, ge=1)
    """Next steps sampled in each of them at every depth."""
    scorer: str = "prm"
    """Value model that ranks the candidates."""


class Mcts(Section):
    """Monte-Carlo tree search over steps with PUCT; every simulation is a full trajectory that is verified."""

    type: Literal["mcts"] = "mcts"
    simulations: int = Field(default=32, ge=1)
    """Trajectories a problem."""
    parallel: int = Field(default=4, ge=1)
    """Simulations in flight at once, kept apart by virtual losses."""
    c_puct: float = Field(default=1.0, ge=0)
    """Weight of exploration."""
    width: int = Field(default=4, ge=1)
    """Children of a node at most."""
    prior: Literal["uniform", "scorer"] = "uniform"
    """Prior over siblings: equal, or a softmax of their scores."""
    prior_temperature: float = Field(default=0.2, gt=0)
    """Of that softmax."""
    scorer: str = "prm"
    """Value model asked for the prior."""


class Shepherd(Section):
    """Labels every step of a solution by completions sampled from it (Math-Shepherd, Wang et al. 2024)."""

    type: Literal["shepherd"] = "shepherd"
    chains: int = Field(default=1, ge=1)
    """Solutions a problem to annotate."""
    completions: int = Field(default=8, ge=1)
    """Completions sampled from each step."""
    max_steps: int | None = Field(default=None, ge=1)
    """Annotate only the first so many steps; null: all."""


class Omega(Section):
    """Finds the first wrong step of failed solutions by binary search (OmegaPRM, Luo et al. 2024)."""

    type: Literal["omega"] = "omega"
    chains: int = Field(default=2, ge=1)
    """Solutions a problem at the start; those that fail are searched."""
    completions: int = Field(default=8, ge=1)
    """k: completions from a step to estimate its value."""
    searches: int = Field(default=4, ge=1)
    """Binary searches a problem at most; after the chains come failed completions, the most telling first."""
    alpha: float = Field(default=0.5, gt=0, le=1)
    """Preference for failures from prefixes of high value."""
    beta: float = Field(default=0.9, gt=0, le=1)
    """Preference for short completions."""
    length_tokens: int = Field(default=500, ge=1)
    """L: the length to which short is relative, in tokens."""
    c_puct: float = Field(default=0.125, ge=0)
    """Weight of exploration."""
    early_exit: bool = False
    """Cancel a step's other completions once one has passed: fewer tokens, but soft values that depend on timing."""


Policy = Annotated[
    BestOfN | Fixed | Entropy | Value | Beam | Dvts | Mcts | Shepherd | Omega, Field(discriminator="type")
]
