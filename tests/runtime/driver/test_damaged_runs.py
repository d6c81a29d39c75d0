"""A run directory that lost something is one clear error for every command that reads it, never a traceback."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
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
    config = str(berry.config(problems=[{"type": "synthetic", "count": 8, "seed": 3}], storage={"compact": False}))
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


def test_a_shell_that_may_open_few_files_is_refused_before_anything_starts(berry: Any) -> None:
    """Connections that can't be opened would be waited for without end and without a word."""
    words = ["bash", "-c", 'ulimit -n 64; exec "$0" -m berry run "$1"', sys.executable, str(berry.config())]
    done = subprocess.run(words, cwd=berry.folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    said = r"berry: a process may open 64 files on \S+ \(ulimit -Hn\), and a run needs 256: raise the limit there .+\n"
    assert re.fullmatch(said, done.stderr), done.stderr
    assert not (berry.folder / "runs").exists()
