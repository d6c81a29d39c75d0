"""The recipe of Math-Shepherd's loop, small, from the command line: every part learns from the one before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.report.rounds import round_lines
from berry.pipeline.storage.run.directory import open_run
from berry.pipeline.storage.run.duckdb_views import connect

RECIPE = str(Path(__file__).parents[3] / "configs" / "recipes" / "math_shepherd.yaml")
SMALL = ("problems.0.count=60", "rollout.policy.completions=2", "rewards.training.epochs=1", "report=false")


@pytest.mark.slow
def test_generator_completer_prm_and_a_policy_gradient_of_steps(berry: Any) -> None:
    berry.environment = {"OMP_NUM_THREADS": "1"}
    code, out = berry.run("run", RECIPE, *SMALL, "--run", "r", "--local", timeout_s=550)
    assert code == 0, out
    assert "nanobind" not in out
    run = open_run(str(berry.folder / "r"))
    assert [line.engine for line in round_lines(run)][1] == "policy-r0", out
    card = json.loads((berry.folder / "r/round=0/weights/policy/card.json").read_text())
    assert (card["targets"], card["metrics"]["steps"] > 0) == ("tree", True)
    scored = dict(connect(run).execute("select round, count(prm) from nodes group by 1").fetchall())
    assert scored[0] == 0
    assert scored[1] > 0, out

    code, out = berry.run("annotate", "r", "--of", "1", "-k", "2", "--round", "0", "--local", timeout_s=300)
    assert code == 0, out
    again = ("epochs=1", "min_each=1")
    code, out = berry.run("train", "r/revisions/annotated", "--what", "prm", *again, timeout_s=300)
    assert code == 0, out
    assert (berry.folder / "r/revisions/annotated/round=0/weights/prm/model.safetensors").exists()
