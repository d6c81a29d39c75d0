"""A stored tree in columns is the tree that its rows were stored from."""

from __future__ import annotations

import ast
import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from berry.pipeline.core.tree import Tree
from berry.pipeline.core.tree_view import NodeView
from berry.pipeline.errors import StorageError
from berry.pipeline.stages.dataset import node_contents
from berry.pipeline.stages.dataset.read_tree import ReadTree
from berry.pipeline.stages.dataset.reading import read_trees, rebuild
from berry.pipeline.storage.parquet.lease_rows import LeaseRows, read_lease
from berry.pipeline.storage.run.directory import RunDir
from berry.sandboxes.sessions import SessionCall, SessionReply

FIELDS = (
    *("node_id", "index", "tokens", "depth", "end", "text", "finish", "seed", "engine_id", "weights_version"),
    *("logprob_sum", "mean_entropy", "logprobs", "weight", "drop", "verdict", "prm", "orm"),
)
POLICIES: list[dict[str, Any]] = [
    {"type": "fixed", "branching": [3, 2, 2]},
    {"type": "best_of_n", "n": 6},
    {"type": "entropy", "chains": 2, "rounds": 1, "forks": 2, "branches": 2},
    {"type": "mcts"},
    {"type": "beam", "width": 4, "beams": 2},
]


async def _add(request: SessionCall) -> SessionReply:
    match ast.parse(request.snippet, mode="eval").body:
        case ast.BinOp(ast.Constant(int(a)), operator, ast.Constant(int(b))):
            return SessionReply(str(a + b if isinstance(operator, ast.Add) else a - b), ms=1.0)
    raise AssertionError(request.snippet)


def grown(lease: LeaseRows, problem_id: str) -> Tree:
    rows = [row for row in lease.nodes if row["problem_id"] == problem_id]
    return rebuild(problem_id, rows, [row for row in lease.trajectories if row["problem_id"] == problem_id])


def fields(node: NodeView) -> dict[str, Any]:
    return {name: getattr(node, name) for name in FIELDS}


def single(found: dict[str, Any]) -> dict[str, Any]:
    return {name: pytest.approx(value) if isinstance(value, float) else value for name, value in found.items()}


@pytest.mark.parametrize("in_memory_bytes", [1 << 20, 100], ids=["memory", "file"])
@pytest.mark.parametrize("policy", [*POLICIES, None], ids=[*(p["type"] for p in POLICIES), "tools"])
def test_it_reads_as_the_tree_that_was_stored(
    stored_run: Callable[..., RunDir],
    policy: dict[str, Any] | None,
    in_memory_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_contents, "IN_MEMORY_BYTES", in_memory_bytes)
    tools = {"rollout": {"tools": [{"type": "python"}], "sampling": {"max_tokens": 600}}, "call": _add}
    run = stored_run(count=5, policy=policy, **({**tools, "call_share": 0.5} if policy is None else {}))
    lease = read_lease(run.location, 0, 0)
    given = 0
    for stored in read_trees(run):
        expected, read = grown(lease, stored.problem_id), stored.tree
        assert len(read) == len(expected) > 3
        assert read.prompt_ids == expected.prompt_ids
        assert read.root.parent is None
        assert "" not in read
        assert str(len(read)) not in read
        for node, other in zip(read.walk(), expected.walk(), strict=True):
            assert fields(node) == single(fields(other))
            assert [c.node_id for c in node.children] == [c.node_id for c in other.children]
            assert [n.node_id for n in read.path(node)] == [n.node_id for n in expected.path(other)]
            assert read.response_ids(node.node_id) == expected.response_ids(other.node_id)
            assert (node.given is None) == (other.given is None)
            assert node == read[node.node_id]
            if node.given is not None and other.given is not None:
                assert (node.given.token_ids, node.given.text) == (other.given.token_ids, other.given.text)
                given += 1
    assert bool(given) == (policy is None)


def test_a_tree_that_lacks_a_node_is_damaged() -> None:
    row = {"token_ids": [1], "logprobs": None, "text": "", "parent_id": None, "sample": 0}
    with pytest.raises(StorageError, match=r"problem p: node 0 is not there; `berry check`"):
        ReadTree("p", [{**row, "node_id": "1"}])


def test_a_node_takes_less_than_two_hundred_bytes_whatever_it_says() -> None:
    def rows(count: int) -> Iterator[dict[str, Any]]:
        shared = {
            "finish": "stop",
            "mean_entropy": 0.1,
            "prm": None,
            "inner_prm": None,
            "engine_id": "e",
            "weights_version": "base",
        }
        for number in range(count):
            yield {
                **shared,
                "node_id": str(number),
                "parent_id": str((number - 1) // 8) if number else None,
                "token_ids": array("i", range(100)),
                "logprobs": array("f", [0.1] * 100),
                "text": f"{number} " * 99,
                "logprob_sum": 10.0,
                "sample": number % 8,
                "weight": 1.0,
                "seed": number,
                "role": "assistant",
            }

    def memory(count: int) -> int:
        tracemalloc.start()
        try:
            tree = ReadTree("p", rows(count))
            assert sum(len(node.children) for node in tree.walk()) == count - 1
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    a_node = (memory(30_000) - memory(10_000)) / 20_000
    assert a_node < 200
