"""`berry sweep` from the command to the pictures, and on from where it was stopped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow
PACED = {
    "problems": [{"type": "synthetic", "count": 400, "seed": 3, "check": {"cpu_ms": 2, "wait_ms": 60}}],
    "engine": {"type": "synthetic", "tokens_per_s": 400, "max_num_seqs": 8},
    "rollout": {"policy": {"type": "best_of_n", "n": 2}, "problems_in_flight": 8},
    "cluster": {
        "name": "two",
        "nodes": {"laptop": {"cores": 2, "usd_per_hour": 0.1}},
        "roles": {"rollout": {"cpus": 1}, "sandbox": {"cpus": 0.25, "slots": 1}},
    },
}


def test_a_sweep_is_measured_drawn_and_goes_on(berry: Any) -> None:
    config = berry.config(**PACED)
    words = ["sweep", str(config), "--seconds", "1", "--local", "--out", "s"]
    code, out = berry.run(*words, "--vary", "cluster.ratio=1,3")
    assert code == 0, out
    assert "knee: " in out
    assert "SYNTHETIC" in out
    folder = berry.folder / "s"
    table = pq.read_table(folder / "sweep.parquet").to_pylist()
    assert [row["slots"] for row in table] == [1, 3]
    assert all(row["end_s"] - row["start_s"] >= 1 for row in table)
    assert table[1]["trajectories_per_s"] > 1.2 * table[0]["trajectories_per_s"]
    assert table[0]["expected_binding"] == "sandbox slots"
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    _check_page(folder / "sweep.html")

    code, out = berry.run(*words, "--vary", "cluster.ratio=1,2,3")
    assert code == 0, out
    assert out.count("run 1 of 1") == 1  # ratio 2 alone was left to do
    again = pq.read_table(folder / "sweep.parquet").to_pylist()
    assert [row["trajectories_per_s"] for row in again if row["slots"] != 2] == [
        row["trajectories_per_s"] for row in table
    ]

    code, out = berry.run(
        "sweep", str(config), "problems.0.count=4", "--vary", "cluster.ratio=1", "--local", "--out", "t"
    )
    assert code == 2
    assert "before a steady state was reached" in out


def _check_page(path: Path) -> None:
    page = path.read_text()
    assert "src=" not in page
    assert "<svg" in page
    assert "Synthetic engine" in page


def test_a_setting_that_can_not_be_is_refused_before_anything_runs(berry: Any) -> None:
    config = berry.config(**PACED)
    code, out = berry.run("sweep", str(config), "--vary", "cluster.ratio=1,9", "--local", "--out", "s")
    assert code == 2
    assert "cluster.ratio 9" in out
    assert not (berry.folder / "s" / "runs").exists()


def test_several_engines_are_swept_without_a_plan_beside(berry: Any) -> None:
    fast = {"type": "synthetic", "tokens_per_s": 400, "role": {"cpus": 0.5}}
    engines = {
        "small": fast | {"error_rate": [0.05, 0.7], "max_num_seqs": 8},
        "large": fast | {"error_rate": [0.0, 0.1], "max_num_seqs": 4},
    }
    routing = {"type": "escalate", "order": ["small", "large"]}
    several = {"engine": None, "engines": engines, "routing": routing, "storage": {"lease_problems": 1}}
    config = str(berry.config(**(PACED | several)))
    words = ["sweep", config, "--seconds", "1", "--local", "--out", "s", "--vary", "cluster.ratio=0.5,1"]
    code, out = berry.run(*words)
    assert code == 0, out
    assert "SYNTHETIC" in out
    assert re.search(r"Of the tokens at ratio 1, run 1: small \d+%", out), out
    table = pq.read_table(berry.folder / "s/sweep.parquet").to_pylist()
    assert [(row["slots"], row["expected_binding"]) for row in table] == [(1, None), (2, None)]
    code, out = berry.run(*words, "--calibrate", "elsewhere")
    assert code == 2
    assert "several engines is not planned beside" in out
