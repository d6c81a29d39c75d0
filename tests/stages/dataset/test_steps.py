"""A response's steps, and whose value labels each."""

from __future__ import annotations

import pytest

from berry.pipeline.config.rollout import DelimiterStep, RegexStep, TokensStep
from berry.pipeline.records import Finish, Node
from berry.pipeline.stages.dataset.steps import Cutter, split_steps


def path(*pieces: tuple[str, float | None]) -> list[Node]:
    return [
        Node(
            problem_id="p",
            node_id=str(i),
            parent_id=str(i - 1),
            depth=i,
            token_ids=[1],
            text=text,
            logprob_sum=-1.0,
            mean_entropy=None,
            finish=Finish.STEP,
            value_soft=value,
            value_hard=None if value is None else value > 0,
        )
        for i, (text, value) in enumerate(pieces, start=1)
    ]


LINES = DelimiterStep(delimiters=("\n",))


def test_one_node_a_step_keeps_each_nodes_value() -> None:
    steps = split_steps(path(("a\n", 0.75), ("b\n", 0.5), ("c", 1.0)), LINES)
    assert [(s.text, s.soft, s.hard) for s in steps] == [("a\n", 0.75, True), ("b\n", 0.5, True), ("c", 1.0, True)]


def test_a_chain_in_one_node_is_cut_and_shares_its_value() -> None:
    steps = split_steps(path(("a\nb\nc", 0.0)), LINES)
    assert [(s.text, s.soft, s.hard) for s in steps] == [("a\n", 0.0, False), ("b\n", 0.0, False), ("c", 0.0, False)]


def test_a_step_across_nodes_has_the_value_of_the_node_it_ends_in() -> None:
    steps = split_steps(path(("a\nb", 0.5), ("b\nc", 1.0)), LINES)
    assert [(s.text, s.soft) for s in steps] == [("a\n", 0.5), ("bb\n", 1.0), ("c", 1.0)]


@pytest.mark.parametrize("text", ["\n\na\n\n\nb\n\n", "a", "\n", " \n a \n "])
def test_steps_joined_are_the_response_and_none_is_blank(text: str) -> None:
    steps = [s.text for s in split_steps(path((text, None)), LINES)]
    assert "".join(steps) == text
    assert all(s.strip() for s in steps) or len(steps) == 1


def test_steps_by_tokens_end_with_nodes_and_by_regex_with_matches() -> None:
    pieces = path(("one two ", 1.0), ("three. four", 0.5))
    assert [s.text for s in split_steps(pieces, TokensStep(tokens=2))] == ["one two ", "three. four"]
    assert [s.text for s in split_steps(pieces, RegexStep(pattern=r"\.\s"))] == ["one two three. ", "four"]


def test_an_empty_response_has_no_steps() -> None:
    assert split_steps(path(("", None)), LINES) == []


def test_equal_responses_of_different_nodes_keep_their_own_labels() -> None:
    cutter = Cutter(LINES)
    for nodes in (path(("a\n", 0.75), ("b", 0.5)), path(("a\nb", 0.25)), path(("a", 0.1), ("\nb", 0.2))):
        texts, ends = cutter.cut(nodes)
        assert texts == ["a\n", "b"]
        assert [n.value_soft for n in ends] == [s.soft for s in split_steps(nodes, LINES)]


def test_steps_of_set_lengths_end_with_nodes_however_often_the_text_was_seen() -> None:
    cutter = Cutter(TokensStep(tokens=1))
    assert cutter.cut(path(("ab", 0.1), ("c", 0.2)))[0] == ["ab", "c"]
    assert cutter.cut(path(("a", 0.1), ("bc", 0.2)))[0] == ["a", "bc"]
