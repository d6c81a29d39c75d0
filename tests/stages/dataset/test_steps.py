"""A response's steps, and whose value labels each."""

from __future__ import annotations

from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

import pytest

from berry.pipeline.config.sections.rollout.rollout import DelimiterStep, RegexStep, StepConfig, TokensStep
from berry.pipeline.core.values.estimate import Scheme, Value
from berry.pipeline.core.values.stored import read
from berry.pipeline.records import Finish, Node, ValueKind
from berry.pipeline.stages.dataset.steps import Cutter, StepLabels, label_of


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
            sample=0,
            weight=1.0,
            value=value,
            value_low=0.0,
            value_high=1.0,
            value_n=0 if value is None else 3,
            value_mass=1.0,
            value_kind=ValueKind.ESTIMATE,
            reached=None if value is None else value > 0,
        )
        for i, (text, value) in enumerate(pieces, start=1)
    ]


class LabelledStep(NamedTuple):
    text: str
    value: Value


def steps_of(nodes: list[Node], step: StepConfig) -> list[LabelledStep]:
    values = read(nodes, Scheme())
    return [LabelledStep(text, label_of(values, end)) for text, end in zip(*Cutter(step).cut(nodes), strict=True)]


LINES = DelimiterStep(delimiters=("\n",))


def test_one_node_a_step_keeps_each_nodes_value() -> None:
    steps = steps_of(path(("a\n", 0.75), ("b\n", 0.5), ("c", 1.0)), LINES)
    assert [(s.text, s.value.value, s.value.n) for s in steps] == [("a\n", 0.75, 3), ("b\n", 0.5, 3), ("c", 1.0, 3)]


def test_a_step_that_ends_inside_a_node_has_its_value_and_one_continuation() -> None:
    steps = steps_of(path(("a\nb\nc", 0.0)), LINES)
    assert [(s.text, s.value.value, s.value.n) for s in steps] == [("a\n", 0.0, 1), ("b\n", 0.0, 1), ("c", 0.0, 3)]


def test_a_step_across_nodes_has_the_value_of_the_node_it_ends_in() -> None:
    steps = steps_of(path(("a\nb", 0.5), ("b\nc", 1.0)), LINES)
    assert [(s.text, s.value.value) for s in steps] == [("a\n", 0.5), ("bb\n", 1.0), ("c", 1.0)]


@pytest.mark.parametrize("text", ["\n\na\n\n\nb\n\n", "a", "\n", " \n a \n "])
def test_steps_joined_are_the_response_and_none_is_blank(text: str) -> None:
    steps = [s.text for s in steps_of(path((text, None)), LINES)]
    assert "".join(steps) == text
    assert all(s.strip() for s in steps) or len(steps) == 1


def test_steps_by_tokens_end_with_nodes_and_by_regex_with_matches() -> None:
    pieces = path(("one two ", 1.0), ("three. four", 0.5))
    assert [s.text for s in steps_of(pieces, TokensStep(tokens=2))] == ["one two ", "three. four"]
    assert [s.text for s in steps_of(pieces, RegexStep(pattern=r"\.\s"))] == ["one two three. ", "four"]


def test_an_empty_response_has_no_steps() -> None:
    assert steps_of(path(("", None)), LINES) == []


def test_equal_responses_of_different_nodes_keep_their_own_labels() -> None:
    cutter = Cutter(LINES)
    for nodes in (path(("a\n", 0.75), ("b", 0.5)), path(("a\nb", 0.25)), path(("a", 0.1), ("\nb", 0.2))):
        texts, ends = cutter.cut(nodes)
        assert texts == ["a\n", "b"]
        values = read(nodes, Scheme())
        assert [label_of(values, end) for end in ends] == [s.value for s in steps_of(nodes, LINES)]
        assert [values[end.node.node_id].value for end in ends] == [s.value.value for s in steps_of(nodes, LINES)]


def test_steps_of_set_lengths_end_with_nodes_however_often_the_text_was_seen() -> None:
    cutter = Cutter(TokensStep(tokens=1))
    assert cutter.cut(path(("ab", 0.1), ("c", 0.2)))[0] == ["ab", "c"]
    assert cutter.cut(path(("a", 0.1), ("bc", 0.2)))[0] == ["a", "bc"]


def test_collected_labels_are_those_of_each_step() -> None:
    labels, expected = StepLabels(), []
    for shares in ((0.75, 0.5), (0.25, 0.5), (1.0, 0.0)):
        nodes = path(("a\nb", shares[0]), ("c\nd\n", shares[1]))
        values, cutter = read(nodes, Scheme()), Cutter(LINES)
        labels.add(values, [(nodes, cutter.places(nodes)[1])] * 2)
        expected += [[s.value for s in steps_of(nodes, LINES)]] * 2
    for get in (attrgetter("label"), attrgetter("n"), attrgetter("low"), attrgetter("reached")):
        found = labels.column(get)
        assert [[found.values[c] for c in found.codes[a:b]] for a, b in pairwise(found.ends)] == [
            [get(value) for value in values] for values in expected
        ]
