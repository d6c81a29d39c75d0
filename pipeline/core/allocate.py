"""Gives leaves that some problems did not need to those that lack correct trajectories.

    [Need(problem, unspent, wanted)] of searches that have all settled ─► allocate ─► {problem: leaves}

What is cheapest to satisfy comes first: that gives the most problems their trajectories for the same leaves. The result
depends on the needs alone, not on which search settled first; equal needs are drawn in an order fixed by the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from berry.pipeline.core.seeds import digest


@dataclass(frozen=True, slots=True)
class Need:
    """A settled search: leaves it left over, leaves that would be of use to it."""

    problem_id: str
    unspent: int
    wanted: int


def allocate(needs: Sequence[Need], *, seed: int, extra: int = 0) -> dict[str, int]:
    """Leaves granted to each problem (0 included); together never more than was left over plus `extra`."""
    left = extra + sum(need.unspent for need in needs)
    granted = {need.problem_id: 0 for need in needs}
    for need in sorted(needs, key=lambda need: (need.wanted, digest("allocate", seed, need.problem_id))):
        if need.wanted > 0:
            granted[need.problem_id] = min(need.wanted, left)
            left -= granted[need.problem_id]
    return granted
