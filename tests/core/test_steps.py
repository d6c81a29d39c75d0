"""Where steps end, on token boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.config.sections.rollout.rollout import DelimiterStep, RegexStep, StepConfig, Thinking, TokensStep
from berry.pipeline.core.steps import answer_part, step_ends, text_ends, token_ends


def bytewise(ids: Sequence[int]) -> str:
    """A vocabulary of single bytes: characters can take several tokens."""
    return bytes(ids).decode(errors="replace")


@given(st.text(max_size=30))
def test_token_ends_of_a_byte_vocabulary(text: str) -> None:
    raw = list(text.encode())
    ends = token_ends(raw, bytewise)
    assert len(ends) == len(raw)
    assert list(ends) == sorted(ends)
    assert not raw or ends[-1] == len(text)
    for n, end in enumerate(ends):
        assert text[:end].encode() == bytes(raw[: len(text[:end].encode())])
        assert len(text[:end].encode()) <= n + 1


def test_token_ends_of_a_vocabulary_whose_tokens_depend_on_their_neighbours() -> None:
    words = ["\u2581so", "\u2581we", "\u2581get", "."]

    def decode(ids: Sequence[int]) -> str:
        return "".join(words[i] for i in ids).replace("\u2581", " ").removeprefix(" ")

    ids = [0, 1, 2, 3, 0]
    ends = token_ends(ids, decode)
    assert ends[-1] == len(decode(ids))
    assert [decode(ids)[a:b] for a, b in zip((0, *ends), ends, strict=False)] == ["so", " we", " get", ".", " so"]


def test_token_ends_where_the_end_is_an_unfinished_character() -> None:
    raw = list("aé".encode())[:2]
    assert token_ends(raw, bytewise) == (1, 2)


def split_text(text: str, ends: Sequence[int], offsets: Sequence[int]) -> list[str]:
    """The text of each step, given the token offsets of `step_ends`."""
    return [text[a:b] for a, b in pairwise([0, *(ends[offset - 1] for offset in offsets)])]


def words(text: str) -> tuple[str, list[int]]:
    """Text and token ends, a token a word with the white space after it."""
    ends, at = [], 0
    for piece in text.replace(" ", " |").replace("\n\n", "\n\n|").split("|"):
        if piece:
            at += len(piece)
            ends.append(at)
    return text, ends


@pytest.mark.parametrize(
    ("text", "step", "expected"),
    [
        ("a b\n\nc d\n\ne", DelimiterStep(), ["a b\n\n", "c d\n\n", "e"]),
        ("a b\n\nc d\n\n", DelimiterStep(), ["a b\n\n", "c d\n\n"]),
        ("a\n\n\n\nb", DelimiterStep(), ["a\n\n\n\n", "b"]),
        ("a b c d e", TokensStep(tokens=2), ["a b ", "c d ", "e"]),
        ("one. two. three", RegexStep(pattern=r"\.\s"), ["one. ", "two. ", "three"]),
        ("no end", DelimiterStep(), ["no end"]),
        ("", DelimiterStep(), []),
    ],
)
def test_steps(text: str, step: StepConfig, expected: list[str]) -> None:
    whole, ends = words(text)
    offsets = step_ends(whole, ends, step)
    assert split_text(whole, ends, offsets) == expected


def test_a_boundary_inside_a_token_moves_to_its_end() -> None:
    text, ends = "a;b c", [1, 3, 5]  # tokens "a", ";b", " c"
    assert split_text(text, ends, step_ends(text, ends, DelimiterStep(delimiters=(";",)))) == ["a;b", " c"]


THOUGHT = "<think>x\n\ny</think>one\n\ntwo"


def test_thinking_is_one_step_or_cut_like_the_rest() -> None:
    text, ends = THOUGHT, list(range(1, len(THOUGHT) + 1))
    after = split_text(text, ends, step_ends(text, ends, DelimiterStep(), thinking=Thinking()))
    assert after == ["<think>x\n\ny</think>", "one\n\n", "two"]
    everywhere = step_ends(text, ends, DelimiterStep(), thinking=Thinking(steps="everywhere"))
    assert split_text(text, ends, everywhere) == ["<think>x\n\n", "y</think>one\n\n", "two"]
    by_tokens = step_ends(text, ends, TokensStep(tokens=5), thinking=Thinking())
    assert split_text(text, ends, by_tokens) == ["<think>x\n\ny</think>", "one\n\n", "two"]


def test_thinking_that_was_never_closed_is_one_step_without_an_answer() -> None:
    text = "<think>x\n\ny"
    assert list(text_ends(text, DelimiterStep(), Thinking())) == []
    assert answer_part(text, Thinking()) == ""
    assert answer_part("x\n\ny", Thinking(opened_by_prompt=True)) == ""
    assert answer_part(THOUGHT, Thinking()) == "one\n\ntwo"
    assert answer_part("plain", Thinking()) == "plain"
    assert answer_part(THOUGHT, None) == THOUGHT


@given(st.text(alphabet="ab \n", max_size=40), st.sampled_from([DelimiterStep(), TokensStep(tokens=3)]))
def test_steps_join_to_the_text_and_none_is_blank(text: str, step: StepConfig) -> None:
    ends = list(range(1, len(text) + 1))
    offsets = step_ends(text, ends, step)
    parts = split_text(text, ends, offsets)
    assert "".join(parts) == text
    assert offsets == sorted(set(offsets))
    assert len(parts) == 1 or all(part.strip() for part in parts[1:])
