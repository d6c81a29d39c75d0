"""Compares the trajectories of a problem with each other: better than its mean is encouraged, worse is not.

    A_i = (R_i - m) / s        m = sum of w_i R_i / sum of w_i,   s² = sum of w_i (R_i - m)² / sum of w_i

R is 1 for a pass and 0 for a fail, w the weight of a leaf among its tree's (core/values/leaf_weights): a tree that
forked one chain often does not count it often, and one that cut others counts what it spared in their stead.
`scale: none` leaves s out (Dr. GRPO, Liu et al. 2025), since dividing by it makes problems that are nearly always or
nearly never solved count most. Group-relative policy optimisation: Shao et al. 2024. Degenerate case: where all
trajectories came out alike every advantage is 0, and the problem teaches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, sqrt
from typing import Literal


def advantages(
    rewards: Sequence[float], weights: Sequence[float], scale: Literal["deviation", "none"]
) -> list[float] | None:
    """One for each trajectory; None where they came out alike, or nothing weighs."""
    whole = fsum(weights)
    if whole <= 0:
        return None
    mean = fsum(w * r for w, r in zip(weights, rewards, strict=True)) / whole
    variance = fsum(w * (r - mean) ** 2 for w, r in zip(weights, rewards, strict=True)) / whole
    if variance <= 1e-12:
        return None
    divisor = sqrt(variance) if scale == "deviation" else 1.0
    return [(reward - mean) / divisor for reward in rewards]
