"""Finds the search of a policy, and takes in policies that are not Berry's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

from berry.pipeline.config.sections.rollout.policies import POLICIES, PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.search.base import Search

S = TypeVar("S", bound=type[Search[Any]])


def search_class(policy: PolicyConfig) -> type[Search[Any]]:
    """The class of the searches that `policy` configures. Raises ConfigError where none is registered."""
    return cast("type[Search[Any]]", POLICIES.get(policy.type))


def register_policy(search: S) -> S:
    """Add a policy for this process, by the `type` of its `config`; also a class decorator. Worker processes of a run
    know only what an installed package announces as entry points `berry.policies`.

    Raises ConfigError where the name is taken, or the class can't be used.
    """
    POLICIES.add(search.config.model_fields["type"].default, search)
    return search


def make_search(
    problem_id: str,
    prompt_ids: Sequence[int],
    rollout: Rollout,
    *,
    run_seed: int,
    round_index: int = 0,
    context_len: int,
) -> Search[Any]:
    """The search that `rollout.policy` asks for, not started yet."""
    cls = search_class(rollout.policy)
    return cls(problem_id, prompt_ids, rollout, run_seed=run_seed, round_index=round_index, context_len=context_len)
