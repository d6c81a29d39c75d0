"""Applies pruning rules in their order, and takes in rules that are not Berry's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from berry.pipeline.config.sections.rollout.pruning import PRUNING_RULES, RuleConfig
from berry.pipeline.core.prune.base import Decision, Digests, Pool, Rule
from berry.pipeline.core.values.estimate import UNKNOWN, Value
from berry.pipeline.records import DropReason, Trajectory

R = TypeVar("R", bound=type[Any])


def make_rule(config: RuleConfig) -> Rule:
    """The rule that `config` configures. Raises ConfigError where none is registered."""
    return cast("Callable[[RuleConfig], Rule]", PRUNING_RULES.get(config.type))(config)


def register_pruning_rule(rule: R) -> R:
    """Add a pruning rule for this process, by the `type` of its `config`; also a class decorator. Worker processes of a
    run know only what an installed package announces as entry points `berry.pruning`.

    Raises ConfigError where the name is taken, or the class can't be used.
    """
    PRUNING_RULES.add(rule.config.model_fields["type"].default, rule)
    return rule


def prune(
    trajectories: Sequence[Trajectory],
    rules: Sequence[RuleConfig],
    *,
    seen: Digests | None = None,
    value: Value = UNKNOWN,
) -> list[Decision]:
    """One decision for each trajectory of *one problem*, in their order. Rules apply in the order given, each to what
    the ones before left; a trajectory keeps its first reason, and one that comes with a `drop_reason` (truncated, cut
    in the loop …) keeps that.

    `seen` is what problems share for exact duplicates: give the same set to every problem pruned together, in a fixed
    order of problems. `value`: of the problem's root, as its tree estimates it, where that is unbiased.
    """
    pool = Pool(trajectories, set[bytes]() if seen is None else seen, value)
    reasons: dict[str, DropReason] = {t.trajectory_id: t.drop_reason for t in trajectories if t.drop_reason}
    for rule in rules:
        alive = [t for t in trajectories if t.trajectory_id not in reasons]
        reasons.update(make_rule(rule).drops(alive, pool))
    decided = {reason: Decision(reason is None, reason) for reason in {None, *reasons.values()}}
    return [decided[reasons.get(t.trajectory_id)] for t in trajectories]
