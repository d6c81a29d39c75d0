"""`berry check` at the command line: what it says and the status it ends with."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from berry.pipeline.cli import app
from berry.pipeline.errors import StorageError

CONFIG = {
    "problems": [{"type": "synthetic", "count": 4, "seed": 3}],
    "engine": {"type": "synthetic"},
    "rollout": {
        "policy": {"type": "fixed", "branching": [2]},
        "step": {"type": "delimiter", "delimiters": ["\n"]},
    },
    "storage": {"lease_problems": 2, "compact": False},
}


def berry(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    return done.exit_code, done.output


@pytest.mark.slow
def test_check_says_whole_then_damaged_then_repairs_and_the_run_makes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("job.yaml").write_text(yaml.safe_dump(CONFIG))
    assert berry("run", "job.yaml", "--local")[0] == 0
    code, out = berry("check", "runs/job")
    assert code == 0
    assert "2 leases" in out
    assert "whole" in out
    Path("runs/job/round=0/nodes/shard-000001.parquet").write_bytes(b"PAR1 and nothing more PAR1")
    code, out = berry("check", "runs/job")
    assert code == 3
    assert "unreadable" in out
    assert "--repair" in out
    code, out = berry("check", "runs/job", "--repair")
    assert code == 0
    assert "runs/job/damaged/000" in out
    assert berry("run", "job.yaml", "--local")[0] == 0
    assert berry("check", "runs/job")[1].endswith("whole\n")


def test_check_of_nothing_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no run"):
        berry("check", str(tmp_path))
