"""Frames and values: what goes in comes out, and hostile bytes are refused in linear time."""

from __future__ import annotations

import contextlib
import json
import math
import random
import struct
from collections import deque
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berry.sandboxes import wire

hashable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.complex_numbers(allow_nan=False) | st.decimals(allow_nan=False) | st.fractions(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
values = st.recursive(
    hashable,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(hashable, inner, max_size=4)
    | st.sets(hashable, max_size=4)
    | st.tuples(inner, inner),
    max_leaves=20,
)  # fmt: skip


def typed(value: object) -> object:
    """A value with the types of all its parts, so that 1, 1.0 and True differ."""
    if isinstance(value, (list, tuple)):
        return type(value), [typed(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(typed(v)) for v in value)
    if isinstance(value, dict):
        return dict, [(typed(k), typed(v)) for k, v in value.items()]
    return type(value), repr(value) if not isinstance(value, int) else hex(value)


@given(values)
@settings(max_examples=100, deadline=None)
def test_plain_data_survives_with_its_types(value):
    assert typed(wire.loads(wire.dumps(value))) == typed(value)


def test_not_a_number_survives():
    assert math.isnan(wire.loads(wire.dumps(float("nan"))))
    assert wire.loads(wire.dumps([math.inf, -math.inf])) == [math.inf, -math.inf]


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_value_or_refused(data):
    try:
        wire.loads(data)
    except wire.WireError:
        return


HOSTILE = [
    b"", b"[", b"]", b"{}", b'{"~":"x","v":1}', b'{"~":"i","v":"zz"}', b'{"~":"i","v":1}', b'{"~":"t"}',
    b'{"~":"d","k":[[]],"v":[1]}', b'{"~":"d","k":[1],"v":[1,2]}', b'{"~":"d","v":[1]}', b'{"~":"s","v":[[1]]}',
    b'{"~":"c","v":[1]}', b'{"~":"c","v":["a","b"]}', b'{"~":"F","v":["0x1","0x0"]}', b'{"~":"F","v":[1,2]}',
    b'{"~":"D","v":"spam"}', b'{"~":"b","v":"\\u1234"}', b"[" * 100_000, b'{"~":"t","v":' * 50_000, b"1" * 10_000,
    b"\xff\xfe", b'"\\ud800', b'{"a":1}', b'{"~":["t"],"v":[]}', b"nul", b"[1,]", b"1 2",
]  # fmt: skip


@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: repr(data[:30]))
def test_hostile_bytes_are_refused(data):
    with pytest.raises(wire.WireError):
        wire.loads(data)


def test_equal_hashes_are_refused_before_they_cost_anything():
    keys = [i * (2**61 - 1) for i in range(1, 50_000)]
    body = json.dumps({"~": "s", "v": keys}).encode()
    with pytest.raises(wire.WireError):
        wire.loads(body)
    body = json.dumps({"~": "d", "k": keys, "v": keys}).encode()
    with pytest.raises(wire.WireError):
        wire.loads(body)


def test_what_is_not_plain_is_refused_by_name():
    for value in (object(), len, wire, [object()], {1: {2: (print,)}}, iter("a"), type("X", (), {})()):
        with pytest.raises(wire.Unsupported):
            wire.dumps(value)
    with pytest.raises(wire.Unsupported, match="nested deeper than 100"):
        wire.dumps(_nested(200))


def _nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def test_ranges_deques_and_views_are_no_lists():
    for value in (range(2, 9, 3), deque([1, 2]), {1: 2}.keys(), {1: 2}.items()):
        got = wire.loads(wire.dumps(value))
        assert type(got) is type(value)
        assert got == value
        assert got != list(value)
    assert list(wire.loads(wire.dumps({1: 2}.values()))) == [2]
    for bad in ('["~r"]', '{"~":"r","v":[1]}', '{"~":"r","v":[0,9,0]}', '{"~":"r","v":[true,1,1]}', '{"~":"m","v":[1]}',
                '{"~":"k","v":[[1]]}', '{"~":"r","v":[0,{"~":"i","v":"0xffffffffffffffffffff"},1]}'):  # fmt: skip
        with contextlib.suppress(wire.WireError):
            assert wire.loads(bad.encode()) == ["~r"]


def test_relatives_lose_all_but_their_data():
    class Liar(int):
        def __eq__(self, other):
            return True

        __hash__ = int.__hash__

        def __int__(self):
            return 42

        def __repr__(self):
            return "42"

    class Words(str):
        def __str__(self):
            return "lie"

    class Items(list):
        def __iter__(self):
            return iter([1, 2, 3])

    got = wire.loads(wire.dumps([Liar(7), Words("truth"), Items([9]), range(2), bytearray(b"x"), {1: 2}.keys()]))
    assert got == [7, "truth", [9], range(2), b"x", {1}]
    assert [type(v) for v in got] == [int, str, list, range, bytes, type({}.keys())]


@given(st.lists(st.binary(max_size=50), max_size=10), st.integers(0, 2**32))
@settings(deadline=None)
def test_frames_survive_any_cutting(bodies, seed):
    stream = b"".join(map(wire.frame, bodies))
    cuts = random.Random(seed)
    reader = wire.Reader(100)
    got: list[bytes] = []
    while stream:
        n = cuts.randint(1, 20)
        reader.feed(stream[:n])
        stream = stream[n:]
        got += reader.frames()
    assert got == bodies
    assert reader.pending == 0


def test_a_frame_over_the_limit_is_refused_before_it_arrives():
    reader = wire.Reader(100)
    reader.feed(wire.frame(b"ok") + struct.pack("=I", 101))
    got = []
    with pytest.raises(wire.WireError, match="101 bytes, 100 allowed"):
        got.extend(reader.frames())


def test_numbers_keep_their_kind():
    for value in (1, 1.0, True, Decimal(1), Fraction(1), 1 + 0j):
        got = wire.loads(wire.dumps(value))
        assert type(got) is type(value)
        assert got == value
