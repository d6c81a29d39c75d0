"""A run directory that lost something is one clear error for every command that reads it, never a traceback."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
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


def test_checks_that_fail_for_want_of_file_descriptors_are_told(berry: Any) -> None:
    """Sandboxes can't start their programs: nothing is called wrong, the run ends, and it says so."""
    problems = [{"type": "synthetic", "count": 12, "seed": 3, "check": {"cpu_ms": 1, "wait_ms": 5}}]
    config = str(berry.config(problems=problems))
    process = berry.start("run", config, "--local")
    psutil.Process(process.pid).rlimit(psutil.RLIMIT_NOFILE, (28, 28))
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 0, out
    assert berry.query("runs/job", "select distinct verdict from '{}/trajectories/*.parquet'") == [("unverifiable",)]
    (told,) = re.findall(r"note: (\d+) of \1 responses could not be checked", out)
    assert 50 <= int(told) <= 72
    assert out.count("can't be checked: sandbox_fault") <= 3, "one line a lease"
