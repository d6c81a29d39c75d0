"""Rewards each segment of a tree by what it changed: the value at its end less the value at its beginning.

    A(segment from u to v) = V(v) - V(u)        V(leaf) = 1 for a pass, 0 for a fail

V is the chance that a continuation passes (core/values); with Q(u, segment) = V(v) this is the advantage of a policy
gradient (Sutton et al. 2000), as Math-Shepherd rewards steps (Wang et al. 2023) and TreeRL segments (Hou et al. 2025).
Only unbiased values are used: a segment with none at one of its ends teaches nothing. Degenerate case: independent
samples have one segment each, and A is R less the mean of the problem, as in GRPO without its scale.

V(u) is the mean over the segments that begin at u, this one among them, so that A is (b - 1)/b of what it would be
against the others alone: a smaller step, in the same direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def advantages(values: Sequence[float | None]) -> list[float | None]:
    """`values` at the ends of the segments from the root to a leaf, the root's own first; one advantage a segment."""
    return [None if before is None or after is None else after - before for before, after in pairwise(values)]
