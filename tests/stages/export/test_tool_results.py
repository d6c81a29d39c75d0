"""What tools said is in no loss: masked where tokens are exported, refused where text is."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from berry.pipeline.errors import InputError
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.storage.run.directory import RunDir
from berry.sandboxes.sessions import SessionCall, SessionReply


async def _add(request: SessionCall) -> SessionReply:
    """The sum or difference of two numbers, as the synthetic engine asks for it."""
    match ast.parse(request.snippet, mode="eval").body:
        case ast.BinOp(ast.Constant(int(a)), operator, ast.Constant(int(b))):
            return SessionReply(str(a + b if isinstance(operator, ast.Add) else a - b), ms=1.0)
    raise AssertionError(request.snippet)


@pytest.fixture
def run(stored_run: Callable[..., RunDir]) -> RunDir:
    rollout = {"tools": [{"type": "python"}], "sampling": {"max_tokens": 600}}
    return stored_run(count=6, rollout=rollout, call=_add, call_share=0.5)


def exported(run: RunDir, folder: Path, name: str, **request: Any) -> list[dict[str, Any]]:
    export(run, ExportRequest(name, heldout_share=0.0, **request), str(folder))
    return pq.read_table(folder / "train.parquet").to_pylist()


def test_text_is_refused_and_tokens_are_masked(run: RunDir, tmp_path: Path) -> None:
    for name in ("sft", "dpo"):
        with pytest.raises(InputError, match=r"hold tool results.*--tokens"):
            exported(run, tmp_path / name, name)
    given = {
        (tree.problem_id, row["trajectory_id"]): [
            node.given is not None for node in tree.tree.path(tree.tree[row["leaf"]]) for _ in node.tokens
        ]
        for tree in read_trees(run)
        for row in tree.trajectories
    }
    assert any(map(any, given.values()))
    for row in exported(run, tmp_path / "tokens", "sft", tokens=True):
        is_given = given[row["problem_id"], row["source_id"]]
        labels = row["labels"][len(row["labels"]) - len(is_given) :]
        ids = row["input_ids"][len(row["input_ids"]) - len(is_given) :]
        assert labels == [-100 if skip else token for skip, token in zip(is_given, ids, strict=True)]


def test_a_packed_tree_masks_results_and_has_log_probabilities_of_the_rest(run: RunDir, tmp_path: Path) -> None:
    rows = {row["problem_id"]: row for row in exported(run, tmp_path / "tree", "tree")}
    for stored in read_trees(run):
        row, nodes = rows[stored.problem_id], list(stored.tree.walk())
        prompt = len(stored.tree.prompt_ids)
        mask = [0] * prompt + [int(node.given is None) for node in nodes[1:] for _ in node.tokens]
        assert row["loss_mask"] == mask
        assert all(bool(logprob) is bool(own) for logprob, own in zip(row["logprobs"], mask, strict=True))
