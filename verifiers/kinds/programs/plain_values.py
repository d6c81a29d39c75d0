"""Compares two plain values. Types are exact; nothing that came out of a sandbox can bring its own `__eq__`.

JSON has no tuples, one kind of number and text keys only. So against an expected value that was written in JSON
(`sequences="json"`) a tuple may stand for a list, 3.0 for 3 and the key 1 for "1"; True never stands for 1.
"""

from __future__ import annotations

import math
from typing import Any, Literal

Sequences = Literal["json", "exact"]
_MAX_DEPTH = 200


def same_value(
    expected: Any, got: Any, *, tolerance: float = 0.0, sequences: Sequences = "json", depth: int = 0
) -> bool:
    """Whether `got`, plain data, is `expected`. `tolerance`: relative error (near 0 absolute) allowed where a float is
    on either side; integers are exact."""
    if depth > _MAX_DEPTH:
        return False
    kind = type(expected)
    if kind in (int, float) and type(got) in (int, float):
        if kind is not type(got) and sequences == "exact":
            return False
        return _same_number(expected, got, tolerance)
    if sequences == "json" and kind in (list, tuple) and type(got) in (list, tuple):
        return _same_items(expected, got, tolerance, sequences, depth)
    if kind is not type(got):
        return False
    if kind in (list, tuple):
        return _same_items(expected, got, tolerance, sequences, depth)
    if kind is dict:
        if sequences == "json" and all(type(key) is str for key in expected):
            got = (
                {key if type(key) is str else _json_key(key): value for key, value in got.items()}
                if len(got) == len(expected)
                else got
            )
        if expected.keys() != got.keys() or len(expected) != len(got):
            return False
        return all(
            same_value(expected[k], got[k], tolerance=tolerance, sequences=sequences, depth=depth + 1) for k in expected
        )
    if kind is complex:
        return _same_number(expected.real, got.real, tolerance) and _same_number(expected.imag, got.imag, tolerance)
    return expected == got


def _same_items(expected: Any, got: Any, tolerance: float, sequences: Sequences, depth: int) -> bool:
    return len(expected) == len(got) and all(
        same_value(a, b, tolerance=tolerance, sequences=sequences, depth=depth + 1)
        for a, b in zip(expected, got, strict=True)
    )


def _same_number(a: float, b: float, tolerance: float) -> bool:
    if a == b:
        return True
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    if not tolerance or (type(a) is int and type(b) is int):
        return False
    try:
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    except OverflowError:
        return False


def _json_key(key: Any) -> Any:
    """The key as JSON would write it; the key itself where it can't be written (over 4,300 digits)."""
    if key is None or type(key) is bool:
        return {True: "true", False: "false", None: "null"}[key]
    try:
        return str(key)
    except ValueError:
        return key
