"""Packing: what a pack holds, that no sequence is lost, and that cuts repeat as little as can be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berry.pipeline.errors import ResourceError
from berry.pipeline.rewards.packing.layout import Pack, pack, packed_tokens, pad

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=9)


def _arrays(sequences: list[list[int]]) -> list[np.ndarray]:
    return [np.array(s, np.int64) for s in sequences]


def _seen(made: Pack, token: int) -> list[int]:
    """Numbers of the tokens that one may look at, by the rule of the mask."""
    assert made.ends is not None
    return [other for other in range(token + 1) if token < made.ends[other]]


def test_shared_prefixes_stand_once() -> None:
    [made] = pack(_arrays([[1, 2, 3, 4], [1, 2, 5], [1, 2, 6]]), budget=100)
    assert made.ids.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert made.positions.tolist() == [[0, 1, 2, 3, 2, 2]]
    assert made.parents.tolist() == [-1, 0, 1, 2, 1, 1]
    assert made.ends is not None
    assert made.ends.tolist() == [6, 6, 4, 4, 5, 6]
    assert made.add_up([np.ones(4, np.float32), np.ones(3, np.float32), np.ones(3, np.float32)]).tolist() == [
        *(3, 3, 1, 1, 1, 1)
    ]


@settings(max_examples=200, deadline=None)
@given(SEQUENCES, st.integers(8, 40))
def test_each_sequence_is_there_once_and_a_token_sees_its_own_way_alone(
    sequences: list[list[int]], budget: int
) -> None:
    given_ = _arrays(sequences)
    packs = pack(given_, budget)
    assert sorted(m for made in packs for m in made.members) == list(range(len(sequences)))
    for made in packs:
        assert made.computed == made.ids.size <= budget
        for member, places in zip(made.members, made.places, strict=True):
            assert made.ids[0, places].tolist() == sequences[member]
            assert made.positions[0, places].tolist() == list(range(len(places)))
            assert made.parents[places].tolist() == [-1, *places[:-1].tolist()]
            for depth, token in enumerate(places.tolist()):
                assert _seen(made, token) == places[: depth + 1].tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=1, max_size=6), st.integers(6, 14))
def test_cuts_repeat_the_least(sequences: list[list[int]], budget: int) -> None:
    given_ = _arrays(sequences)
    order = sorted(sequences)
    best = min(
        sum(packed_tokens(_arrays(part)) for part in parts)
        for parts in (_split(order, cuts) for cuts in itertools.product((False, True), repeat=len(order) - 1))
        if all(packed_tokens(_arrays(part)) <= budget for part in parts)
    )
    assert sum(made.computed for made in pack(given_, budget)) == best


def _split(order: list[list[int]], cuts: tuple[bool, ...]) -> list[list[list[int]]]:
    parts = [[order[0]]]
    for cut, one in zip(cuts, order[1:], strict=True):
        if cut:
            parts.append([one])
        else:
            parts[-1].append(one)
    return parts


def test_tokens_with_unequal_keys_are_not_shared() -> None:
    keys = _arrays([[1, 2, 3], [1, 9, 3]])
    [made] = pack(_arrays([[1, 2, 3], [1, 2, 3]]), 10, keys=keys)
    assert made.computed == 5
    [joined] = pack(_arrays([[1, 2, 3], [1, 2, 3]]), 10)
    assert joined.computed == 3


def test_a_sequence_longer_than_a_pack_is_refused() -> None:
    with pytest.raises(ResourceError, match="5 tokens does not fit a pack of 4"):
        pack(_arrays([[1, 2, 3, 4, 5]]), 4)


def test_padded_rows_have_the_same_numbers_a_token() -> None:
    made = pad(_arrays([[7, 8, 9], [7]]))
    assert made.ids.tolist() == [[7, 8, 9], [7, 0, 0]]
    assert made.parents.tolist() == [-1, 0, 1, -1, 3, 4]
    assert [p.tolist() for p in made.places] == [[0, 1, 2], [3]]
    assert made.computed == 4
