"""Tells how large a policy's search gets, before it runs: for capacity, budgets and warnings."""

from __future__ import annotations

from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.search.registry import search_class


def width(rollout: Rollout) -> int:
    """Sequences that one search runs at its start."""
    search = search_class(rollout.policy)
    window = rollout.budget.max_in_flight if search.heeds_window else None
    return min(filter(None, (search.width(rollout.policy), window, rollout.budget.max_leaves)))


def leaves(rollout: Rollout) -> int | None:
    """Trajectories a problem that the policy's own parameters ask for; None where that depends on the answers."""
    search = search_class(rollout.policy)
    return search.planned_leaves(rollout.policy) if search.leaves_known else None
