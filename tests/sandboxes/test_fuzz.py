"""Generated garbage: the wire's reader refuses or returns plain data, and a pool answers whatever it is given."""

from __future__ import annotations

import contextlib
import json
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.sandboxes import wire
from berry.sandboxes.base import Call, Job, JobOutcome
from tests.fuzzing import fuzzed

RELATIVES = ("range", "deque", "dict_keys", "dict_values", "dict_items")
PLAIN = (type(None), bool, int, float, str, bytes, complex, list, tuple, dict, set, frozenset, Decimal, Fraction)

tags = st.sampled_from(["i", "t", "d", "s", "f", "b", "c", "D", "F", "r", "q", "k", "w", "m", "x", "~", ""])
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
    st.sampled_from(["0x1", "-0x", "1e999999999", "NaN", "sNaN", "inf", "0" * 5000, "1/0", "\ud800", "0x0"]),
)  # fmt: skip
garbage = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.fixed_dictionaries({"~": tags, "v": inner}),
        st.fixed_dictionaries({"~": tags, "v": st.lists(inner, max_size=4)}),
        st.fixed_dictionaries({"~": st.just("d"), "k": st.lists(inner, max_size=4), "v": st.lists(inner, max_size=4)}),
    ),
    max_leaves=20,
)
plain = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(),
        st.complex_numbers(allow_nan=False), st.fractions(), st.decimals(allow_nan=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.integers(), st.text(), st.tuples(st.text())), inner, max_size=4),
        st.sets(st.one_of(st.integers(), st.text(), st.fractions()), max_size=4),
    ),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.slow
@fuzzed(800, deadline_ms=2000)
@given(st.one_of(garbage.map(lambda value: json.dumps(value).encode()), st.binary(max_size=200)))
def test_the_reader_refuses_or_returns_plain_data(data):
    try:
        value = wire.loads(data)
    except wire.WireError:
        return
    assert isinstance(value, PLAIN) or type(value).__name__ in RELATIVES
    with contextlib.suppress(wire.Unsupported):  # what was read can be written, or is refused by name
        wire.dumps(value)


@pytest.mark.slow
@fuzzed(800, deadline_ms=2000)
@given(plain)
def test_plain_data_survives(value):
    assert wire.loads(wire.dumps(value)) == value


@fuzzed(800, deadline_ms=2000)
@given(st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=20))
def test_frames_are_split_alike_however_they_arrive(data, cuts):
    whole, parts = wire.Reader(1000), wire.Reader(1000)
    seen: list[list[bytes]] = []
    for reader, pieces in ((whole, [data]), (parts, _cut(data, cuts))):
        frames: list[bytes] = []
        try:
            for piece in pieces:
                reader.feed(piece)
                frames += reader.frames()
        except wire.WireError:
            frames.append(b"refused")
        seen.append(frames)
    assert seen[0][-1:] == seen[1][-1:] or b"refused" in (*seen[0][-1:], *seen[1][-1:])
    assert [f for f in seen[1] if f != b"refused"][: len(seen[0])] == [f for f in seen[0] if f != b"refused"]


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    return [*pieces, data[at:]]


STRANGE = {
    "a_lone_surrogate": "\ud800",
    "a_null": "a\0b",
    "many_digits": 10**6000,
    "a_long_fraction": Fraction(3**9000, 2**14000),
    "not_a_number": math.nan,
    "a_signalling_nan": Decimal("sNaN"),
    "a_small_decimal": Decimal("1e-90000"),
    "a_deep_list": eval("[" * 60 + "]" * 60),
    "mixed_keys": {1: 2, "a": (None,), 2.5: b"\xff", (1, "\udfff"): {frozenset({1})}},
}


@pytest.mark.parametrize("strange", STRANGE)
def test_no_value_makes_a_pool_raise(box, strange):
    result = box.call("def f(x): return [x, x]", STRANGE[strange])
    assert result.outcome is JobOutcome.OK, result.error
    judged = box.judge("def f(x): return x", "assert candidate(1) == 1\nx = candidate([1])\ncandidate([[x], x])")
    assert judged.passed
    text = STRANGE[strange] if isinstance(STRANGE[strange], str) else "\udc80\ud83d"
    for language in ("python", "shell", "javascript"):
        assert box.run(Job(f"# {text}", language=language, stdin=(text,))).outcome is not JobOutcome.FAULT
    assert box.run(Job(text, entry_point=text, calls=(Call((text,)),))).outcome is not JobOutcome.FAULT
