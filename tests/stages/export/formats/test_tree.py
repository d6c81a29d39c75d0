"""Packed trees against the trees they were made of, read by the functions that docs/exports.md gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from berry.pipeline.stages.dataset.reading import StoredTree, read_trees
from berry.pipeline.stages.export import tree_leaves
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.stages.export.formats import tree as tree_format
from berry.pipeline.stages.training.step_labels import ending_of
from berry.pipeline.storage.parquet import lease_tables
from berry.pipeline.storage.run.directory import RunDir

PAGE = Path(__file__).resolve().parents[4] / "docs" / "exports.md"


def documented(name: str) -> Callable[[dict[str, Any]], Any]:
    """A function of a code block of the page."""
    [block] = [b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if f"def {name}(" in b]
    assert len(block.splitlines()) <= 30
    found: dict[str, Any] = {}
    exec(block, found)
    return found[name]


@pytest.fixture
def packed(stored_run: Callable[..., RunDir], tmp_path: Path) -> Callable[..., list[tuple[StoredTree, dict[str, Any]]]]:
    """packed(policy=…) -> each tree of a run with its row."""

    def make(trainer: str | None = None, **run: Any) -> list[tuple[StoredTree, dict[str, Any]]]:
        stored = stored_run(**{"count": 6, **run})
        export(stored, ExportRequest("tree", trainer, heldout_share=0.0), str(tmp_path / "out"))
        rows = {row["problem_id"]: row for row in pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()}
        trees = list(read_trees(stored))
        assert len(trees) == len(rows)
        return [(tree, rows[tree.problem_id]) for tree in trees]

    return make


POLICIES = [
    {"type": "fixed", "branching": [3, 2, 2]},
    {"type": "entropy", "chains": 3, "forks": 2, "branches": 2},
    {"type": "best_of_n", "n": 4},
]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p["type"])
def test_the_documented_reader_rebuilds_every_trajectory(packed, policy: dict[str, Any]) -> None:
    read = documented("trajectories")
    for stored, row in packed(policy=policy):
        rebuilt = {found["trajectory_id"]: found for found in read(row)}
        assert set(rebuilt) == {t["trajectory_id"] for t in stored.trajectories if t["leaf"] in stored.tree}
        assert sum(row["loss_mask"]) == sum(len(node.tokens) for node in stored.tree.walk()), "each token once"
        for t in stored.trajectories:
            found, path = rebuilt[t["trajectory_id"]], stored.tree.path(stored.tree[t["leaf"]])
            ids = stored.tree.response_ids(t["leaf"])
            assert found["input_ids"] == [*stored.tree.prompt_ids, *ids]
            assert found["loss_mask"] == [0] * found["prompt_tokens"] + [1] * len(ids)
            assert found["logprobs"] == [0.0] * found["prompt_tokens"] + list(stored.logprobs(t["leaf"]) or ())
            assert found["reward"] == {"pass": 1.0, "wrong": 0.0}.get(ending_of(t))
            nodes = [stored.tree.root, *path]
            assert found["values"] == [stored.values[node.node_id].value for node in nodes]


def test_a_token_sees_its_own_path_and_stands_where_it_stood(packed) -> None:
    for _, row in packed():
        mask = documented("attention")(row)
        assert mask.sum(axis=1).tolist() == [place + 1 for place in row["position_ids"]]
        for found in documented("trajectories")(row):
            [leaf] = [leaf for leaf in row["leaves"] if leaf["trajectory_id"] == found["trajectory_id"]]
            last = [*row["starts"][1:], len(row["input_ids"])][leaf["segment"]] - 1
            assert np.asarray(row["input_ids"])[mask[last]].tolist() == found["input_ids"]


def test_a_segment_weighs_as_many_trajectories_as_pass_through_it(packed) -> None:
    for stored, row in packed():
        leaves = {t["leaf"] for t in stored.trajectories}
        below = [sum(n.node_id in leaves for n in stored.tree.walk(node)) for node in stored.tree.walk()]
        assert row["trajectories"] == below
        assert row["trajectories"][0] == len(row["leaves"])


@pytest.mark.parametrize("limits", [{"MOST_LEAVES": 3}, {"MOST_TOKENS": 70}, {"MOST_LEAVES": 1}], ids=str)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p["type"])
def test_a_tree_that_is_cut_into_rows_has_every_trajectory_once_with_its_whole_prefix(
    stored_run: Callable[..., RunDir],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: dict[str, Any],
    limits: dict[str, int],
) -> None:
    run, whole, cut = stored_run(count=3, policy=policy), tmp_path / "whole", tmp_path / "cut"
    monkeypatch.setattr(lease_tables, "BATCH_ROWS", 2)
    monkeypatch.setattr(tree_leaves, "IN_MEMORY_BYTES", 1)
    export(run, ExportRequest("tree", heldout_share=0.0), str(whole))
    for name, most in limits.items():
        monkeypatch.setattr(tree_format, name, most)
    export(run, ExportRequest("tree", heldout_share=0.0), str(cut))
    trees = pq.read_table(whole / "train.parquet").to_pylist()
    rows = pq.read_table(cut / "train.parquet").to_pylist()
    read = documented("trajectories")
    for tree in trees:
        parts = [row for row in rows if row["problem_id"] == tree["problem_id"]]
        assert (tree["part"], tree["parts"]) == (0, 1)
        assert [(row["part"], row["parts"]) for row in parts] == [(at, len(parts)) for at in range(len(parts))]
        assert len(parts) > 1
        assert [t for row in parts for t in read(row)] == list(read(tree))
        assert sum(row["trajectories"][0] for row in parts) == tree["trajectories"][0]
        assert all(0 not in row["trajectories"] for row in parts), (
            "nothing stands in a row that none of its leaves needs"
        )
        for row in parts:
            mask = documented("attention")(row)
            assert mask.sum(axis=1).tolist() == [place + 1 for place in row["position_ids"]]
            assert len(row["leaves"]) <= limits.get("MOST_LEAVES", len(row["leaves"]))
            assert len(row["leaves"]) == 1 or len(row["input_ids"]) <= limits.get("MOST_TOKENS", 10_000)


def test_nodes_hold_what_packed_trees_hold(packed) -> None:
    for stored, row in packed("nodes"):
        nodes = row["nodes"]
        assert nodes[0]["token_ids"] == list(stored.tree.prompt_ids)
        assert [n["trainable"] for n in nodes] == [False] + [True] * (len(nodes) - 1)
        for leaf in row["leaves"]:
            texts, at = [], leaf["segment"]
            while at > 0:
                texts.insert(0, nodes[at]["text"])
                at = nodes[at]["parent"]
            [t] = [t for t in stored.trajectories if t["trajectory_id"] == leaf["trajectory_id"]]
            assert "".join(texts) == t["response"]
            assert (leaf["kept"], leaf["drop_reason"]) == (t["kept"], t["drop_reason"])


def test_branches_that_were_cut_give_their_weight_to_those_that_were_spared(packed) -> None:
    weights: Iterator[float] = (
        w
        for _, row in packed(policy={"type": "beam", "beams": 2, "width": 4, "spare": 0.25}, count=4)
        for w in row["weight"]
        if w is not None
    )
    found = set(weights)
    assert 1.0 in found
    assert max(found) > 1.0, "a spared branch stands for those that were cut"
