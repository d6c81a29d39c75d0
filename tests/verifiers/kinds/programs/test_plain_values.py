"""Plain values are compared by type and content."""

from __future__ import annotations

import pytest

from berry.verifiers.kinds.programs.plain_values import same_value


@pytest.mark.parametrize(
    ("expected", "got", "json", "exact"),
    [
        (1, 1, True, True),
        (1, 1.0, True, False),
        (1, True, False, False),
        (True, 1, False, False),
        ([1, 2], (1, 2), True, False),
        ((1, 2), (1, 2), True, True),
        ([1, [2]], (1, (2,)), True, False),
        ([1], [1, 1], False, False),
        ({"1": 2}, {1: 2}, True, False),
        ({"a": 1}, {"a": 1, "b": 2}, False, False),
        (float("nan"), float("nan"), True, True),
        (0.3, 0.1 + 0.2, False, False),
        ("a", b"a", False, False),
        ({1, 2}, {2, 1}, True, True),
        ([1, 2], {1, 2}, False, False),
        (None, 0, False, False),
        (10**400, 10**400, True, True),
        (10**400, 1.0, False, False),
    ],
)
def test_same_value(expected, got, json, exact) -> None:
    assert same_value(expected, got) is json
    assert same_value(expected, got, sequences="exact") is exact


def test_tolerance_is_for_numbers_alone() -> None:
    assert same_value([0.3], [0.1 + 0.2], tolerance=1e-9)
    assert not same_value("0.3", "0.30000001", tolerance=1)
    assert not same_value(10**400, 1.5, tolerance=0.5)


def test_deep_nesting_is_not_the_same_and_does_not_raise() -> None:
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    assert not same_value(deep, deep)


def test_integers_are_exact_whatever_the_tolerance() -> None:
    assert not same_value(10**16 + 1, 10**16, tolerance=1e-6)
    assert not same_value([{"n": 1_000_003}], [{"n": 1_000_004}], tolerance=1e-3)
    assert same_value(3, 3.0000000001, tolerance=1e-6)
    assert same_value(3.0, 3, tolerance=1e-6)
