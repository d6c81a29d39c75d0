"""What each token of a kept trajectory is: siblings share what lies above them, and get what they would get alone."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from berry.pipeline.records import ASSISTANT, Finish, Node, ResponseSegment
from berry.pipeline.stages.dataset.kept_tokens import add_tokens, segments_of
from berry.pipeline.stages.dataset.rows import empty

COLUMNS = ("token_ids", "logprobs", "segments")


def node(
    name: str, ids: list[int], version: str = "v0", *, engine: str = "e0", logged: bool = True, role: str = ASSISTANT
) -> Node:
    logprobs = array("f", [-0.5 * token for token in ids]) if logged and role == ASSISTANT else None
    made = Node("p", name, "", 1, array("i", ids), "", None, None, Finish.STEP, None, engine, version)
    made.logprobs, made.role = logprobs, role
    return made


def told(paths: list[list[Node]]) -> list[tuple[Any, ...]]:
    columns = empty("kept")
    add_tokens(columns, paths)
    numbers = [columns[name].arrow().to_pylist() for name in COLUMNS[:2]]
    return list(zip(*numbers, columns["segments"], strict=True))


def test_ids_and_logprobs_of_a_path_are_those_of_its_nodes_and_a_tools_result_has_zeros() -> None:
    path = [node("a", [1, 2]), node("b", [3], role="tool"), node("c", [4, 6])]
    segments = [
        ResponseSegment(0, 2, ASSISTANT, "v0", "e0", trainable=True),
        ResponseSegment(2, 1, "tool", "v0", "e0", trainable=False),
        ResponseSegment(3, 2, ASSISTANT, "v0", "e0", trainable=True),
    ]
    assert told([path]) == [([1, 2, 3, 4, 6], [-0.5, -1.0, 0.0, -2.0, -3.0], segments)]


@pytest.mark.parametrize("other", ["same", "version", "engine", "tool", "unlogged", "empty"])
def test_siblings_get_together_what_each_would_get_alone(other: str) -> None:
    first, second = node("a", [1, 2]), node("b", [3])
    odd = {
        "same": node("x", [7, 8]),
        "version": node("x", [7, 8], "v1"),
        "engine": node("x", [7, 8], engine="e1"),
        "tool": node("x", [7, 8], role="tool"),
        "unlogged": node("x", [7, 8], logged=False),
        "empty": node("x", [], logged=False),
    }[other]
    leaves = [node(f"l{i}", [10 + i], "v0" if i % 2 else "v1") for i in range(4)]
    above = [[first, second], [first, odd], [first], []]
    paths = [[*path, leaf] for path in above for leaf in [*leaves, odd]]
    assert told(paths) == [one for path in paths for one in told([path])]
    assert [row[2] for row in told(paths)] == [segments_of(path) for path in paths]


def test_one_sampled_segment_without_logprobs_leaves_its_trajectory_without_any() -> None:
    shared = node("a", [1, 2], logged=False)
    found = told([[shared, node("b", [3])], [node("c", [4]), node("d", [5])], [node("e", [6], logged=False)]])
    assert [logprobs for _, logprobs, _ in found] == [None, [-2.0, -2.5], None]


def test_neighbours_of_one_author_are_one_segment_and_all_tokens_are_covered() -> None:
    authors = [(3, "v0", "e0"), (2, "v0", "e0"), (0, "v1", "e0"), (4, "v1", "e0"), (1, "v1", "e1"), (2, "v0", "e0")]
    path = [node(str(i), list(range(n)), version, engine=engine) for i, (n, version, engine) in enumerate(authors)]
    assert segments_of(path) == [
        ResponseSegment(0, 5, "assistant", "v0", "e0", trainable=True),
        ResponseSegment(5, 4, "assistant", "v1", "e0", trainable=True),
        ResponseSegment(9, 1, "assistant", "v1", "e1", trainable=True),
        ResponseSegment(10, 2, "assistant", "v0", "e0", trainable=True),
    ]
    assert segments_of([node("a", [])]) == []
