"""Wilson's interval of a share."""

from __future__ import annotations

from math import sqrt


def wilson(passed: float, checked: float, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a share (95% at z = 1.96); (0, 1) if nothing was checked. Counts need not be whole.

    Source: Wilson 1927. It stays inside [0, 1] and has a width at 0 and at 1, unlike the normal interval.
    """
    if not checked:
        return 0.0, 1.0
    share, square = passed / checked, z * z
    centre = share + square / (2 * checked)
    half = z * sqrt(share * (1 - share) / checked + square / (4 * checked * checked))
    scale = 1 + square / checked
    low = 0.0 if passed == 0 else max(0.0, (centre - half) / scale)
    high = 1.0 if passed == checked else min(1.0, (centre + half) / scale)
    return low, high
