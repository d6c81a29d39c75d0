"""Which values may keep tests busy for ever."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from fractions import Fraction

import pytest

from berry.sandboxes.jobs.large_values import is_large


@pytest.mark.parametrize(
    "value",
    [
        10**6, -(10**9), 1e300, float("inf"), float("nan"), 1e9j, Decimal("1e99"), Decimal("sNaN"), Fraction(10**9),
        "x" * 20_000, "n = 12345678", [[["9999999"]]], {"a": 10**7}, {10**7: 1}, range(10**9), list(range(20_000)),
        deque([0] * 20_000), dict.fromkeys(range(9000), 0).items(), [["x" * 6_000], ["x" * 6_000]],
    ],
)  # fmt: skip
def test_large_ones(value):
    assert is_large(value)


@pytest.mark.parametrize(
    "value", [None, True, 0, 999_999, -5.5, "text of 1234 words", [1, [2, [3]]], {"a": (1, 2)}, range(100), Decimal(3)]
)
def test_others(value):
    assert not is_large(value)


def test_a_range_longer_than_can_be_counted_is_large() -> None:
    assert is_large(range(10**30))
    assert is_large([range(0, -(10**30), -7)])
    assert not is_large([range(0), range(5, 0), range(10, 0, -3)])
