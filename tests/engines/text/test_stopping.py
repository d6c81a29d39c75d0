"""Regular expressions as ends of a segment."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.engines.text.stopping import RegexStop, delimited_length
from berry.pipeline.errors import ConfigError

PIECES = ["Step", " 1", ":", " so", ".\n", "\n", "Therefore", " x", "=", "4", ".\nSt"]


def decode(ids: Sequence[int]) -> str:
    return "".join(PIECES[i] for i in ids)


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=30), st.data())
def test_the_end_does_not_depend_on_how_the_tokens_come_in(ids: list[int], data: st.DataObject):
    one_by_one = RegexStop(r"\.\n", decode)
    expected = next((n for n in range(1, len(ids) + 1) if one_by_one.length(ids[:n]) is not None), None)
    in_pieces, given_so_far, found = RegexStop(r"\.\n", decode), 0, None
    while given_so_far < len(ids) and found is None:
        given_so_far += data.draw(st.integers(1, len(ids) - given_so_far))
        found = in_pieces.length(ids[:given_so_far])
    assert found == expected
    if expected is not None:
        assert ".\n" in decode(ids[:expected])
        assert ".\n" not in decode(ids[: expected - 1])


def test_an_empty_match_ends_nothing():
    assert RegexStop(r"x*", decode).length([0, 1]) is None
    assert RegexStop(r"(?=St)", decode).length([3, 0]) == 2


def test_a_broken_pattern_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"rollout\.step\.pattern '\('"):
        RegexStop("(", decode)


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=30))
def test_a_delimiter_s_segment_ends_with_the_token_that_completes_it(ids: list[int]):
    delimiters = (".\n", ":")
    complete = (n for n in range(1, len(ids) + 1) if any(d in decode(ids[:n]) for d in delimiters))
    assert delimited_length(ids, delimiters, decode) == next(complete, None)
    assert delimited_length(ids, (), decode) is None
