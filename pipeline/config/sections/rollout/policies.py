"""Looks up which class configures the `policy` of a rollout, by its `type`.

A policy stands in one file of `pipeline/core/search/`, its configuration with it; installed packages bring more by the
entry point group `berry.policies` (an entry point is a subclass of `berry.pipeline.core.search.base.Search`).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import SerializeAsAny

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.reading.by_type import ByType, Configured, explain_unusable
from berry.pipeline.extensions import Registry


def _check(name: str, search: type[Configured]) -> str | None:
    return explain_unusable(name, search, PolicyConfig)


_SEARCH = "berry.pipeline.core.search.policies"
POLICIES: Registry[type[Configured]] = Registry(
    "berry.policies",
    {
        "best_of_n": f"{_SEARCH}.best_of_n:BestOfNSearch",
        "fixed": f"{_SEARCH}.fixed:FixedSearch",
        "entropy": f"{_SEARCH}.entropy:EntropySearch",
        "value": f"{_SEARCH}.value:ValueSearch",
        "beam": f"{_SEARCH}.beam:BeamSearch",
        "dvts": f"{_SEARCH}.dvts:DvtsSearch",
        "mcts": f"{_SEARCH}.mcts:MctsSearch",
        "shepherd": f"{_SEARCH}.shepherd:ShepherdSearch",
        "omega": f"{_SEARCH}.omega:OmegaSearch",
    },
    _check,
)
"""Policies by name: search classes, whose `config` is the configuration's class."""


class PolicyConfig(Section):
    """What configures a policy; each has a `type` of its own, a Literal with a default."""

    by_type: ClassVar = POLICIES

    type: Any


Policy = Annotated[SerializeAsAny[PolicyConfig], ByType(POLICIES)]


def default_policy(**keys: Any) -> PolicyConfig:
    """The policy where a configuration names none: best_of_n."""
    return POLICIES.get("best_of_n").config(**keys)
