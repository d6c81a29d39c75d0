"""`berry sweep` from the command to the pictures, and on from where it was stopped."""

from __future__ import annotations

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
