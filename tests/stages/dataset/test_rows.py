"""What a kept row says of how it was made: whose tokens, under which messages, by which template."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from berry.pipeline.engines.base import EngineInfo
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.stages.dataset.rows import made_by_engine, made_by_marks
from berry.pipeline.storage.run.directory import RunDir


def test_a_run_stores_the_messages_that_it_sampled_under(stored_run: Callable[..., RunDir]) -> None:
    run = stored_run(count=4, rollout={"system_prompt": "Be brief."})
    trees = list(read_trees(run))
    assert len(trees) == 4
    for tree in trees:
        assert tree.problem is not None
        expected = [{"role": "system", "content": "Be brief."}, *tree.problem.messages]
        assert tree.sampled_under == tree.messages == expected
        assert all(row["messages"] == expected for row in tree.kept)
        assert all(row["template_hash"] == "synthetic" and row["template_args"] is None for row in tree.kept)


def test_segments_cover_the_tokens_of_what_is_kept(stored_run: Callable[..., RunDir]) -> None:
    kept = [row for tree in read_trees(stored_run(count=6)) for row in tree.kept]
    assert kept
    for row in kept:
        assert sum(segment["tokens"] for segment in row["segments"]) == len(row["token_ids"])
        assert [s["weights_version"] for s in row["segments"]] == [row["weights_version"]]
        assert all(s["trainable"] and s["role"] == "assistant" for s in row["segments"])


@pytest.mark.parametrize("args", [{}, {"enable_thinking": False}])
def test_the_template_is_named_by_an_engine_and_by_what_it_stored(args: dict[str, Any]) -> None:
    info = EngineInfo("e", "m", 10, 1, 16, template_hash="abc", template_args=args)
    marks = {"model": "m", "synthetic": "false", "template": json.dumps({"hash": "abc", "args": args})}
    assert made_by_engine(info) == made_by_marks(marks)
    assert made_by_marks({"model": "m", "synthetic": "false"})["template_hash"] is None
