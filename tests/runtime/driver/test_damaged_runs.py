"""A run directory that lost something is one clear error for every command that reads it, never a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def lose_a_kept_shard(run: Path) -> None:
    next((run / "round=0/kept").glob("shard-*.parquet")).unlink()


def damage_run_yaml(run: Path) -> None:
    (run / "run.yaml").write_text("a: [1\n b: {")


def empty_versions(run: Path) -> None:
    (run / "versions.json").write_text("")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lose_a_kept_shard, "shard-000000.parquet of a committed lease is not there; `berry check`"),
        (damage_run_yaml, "run.yaml: is damaged"),
        (empty_versions, "versions.json: is damaged"),
    ],
    ids=["a kept shard is gone", "run.yaml is damaged", "versions.json is empty"],
)
def test_every_command_says_what_is_damaged(berry: Any, damage: Callable[[Path], None], said: str) -> None:
    config = str(berry.config(problems=[{"type": "synthetic", "count": 8, "seed": 3}]))
    code, out = berry.run("run", config, "--local")
    assert code == 0, out
    run = berry.folder / "runs/job"
    whole = berry.folder / "whole"
    shutil.copytree(run, whole)
    damage(run)
    told = 0
    for words in (["inspect"], ["show", "PROBLEM"], ["status"], ["check"]):
        code, out = berry.run(words[0], str(run), *(["synthetic-3-1"] if len(words) > 1 else []))
        assert "Traceback" not in out, (words, out)
        told += said in out
    code, out = berry.run("run", config, "--local")
    assert "Traceback" not in out, out
    assert code == 3, out
    assert said in out
    assert told >= 1
