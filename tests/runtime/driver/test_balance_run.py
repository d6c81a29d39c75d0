"""`ratio: auto` in a real run: slots found while it goes on, without costing the engines anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from berry.pipeline.report.balance import story
from berry.pipeline.storage.run.directory import open_run

pytestmark = pytest.mark.slow

QUICK = {"type": "synthetic", "count": 60, "seed": 3, "check": {"cpu_ms": 0.5, "wait_ms": 1}}
SLOW = {"type": "synthetic", "count": 90, "seed": 4, "check": {"cpu_ms": 0.5, "wait_ms": 300}}
JOB: dict[str, Any] = {
    "problems": [QUICK, SLOW],
    "engine": {"type": "synthetic", "tokens_per_s": 200, "max_num_seqs": 16},
    "rollout": {"policy": {"type": "best_of_n", "n": 2}},
    "cluster": {
        "name": "one",
        "nodes": {"host": {"cores": 4}},
        "balance": {"tick_s": 0.25, "shrink_ticks": 3, "grow_ticks": 1},
        "roles": {"rollout": {"cpus": 1}, "sandbox": {"cpus": 0.25, "slots": 2, "min": 1}},
    },
}


def idle_share(berry: Any, run: str) -> float:
    """Of the engine's sequences in steady state: at a set pace, what is missing of the throughput that can be."""
    figures = json.loads((berry.folder / run / "metrics/run.json").read_text())
    return figures["steady"]["engine_idle_share"]


def test_it_takes_idle_slots_away_brings_them_back_and_is_as_fast_as_the_best_fixed_ratio(berry: Any) -> None:
    config = str(berry.config(**JOB))
    code, out = berry.run("run", config, "--local", "--run", "auto")
    assert code == 0, out
    assert "sandbox slots in" in out
    found = story(open_run(str(berry.folder / "auto")))
    assert found is not None
    assert {r["reason"] for r in found.changes} >= {"slots_idle", "starved"}, out
    assert min(r["after"] for r in found.rows) < 24, "no slot was taken away"
    assert (berry.folder / "auto/metrics/balance.svg").read_text().startswith("<svg")
    assert berry.query("auto", "select count(*) from '{}/trajectories/*.parquet' where verdict = 'unverifiable'") == [
        (0,)
    ]
    code, out = berry.run("run", config, "cluster.ratio=24", "--local", "--run", "fixed")
    assert code == 0, out
    assert "sandbox slots in" not in out
    assert idle_share(berry, "auto") < idle_share(berry, "fixed") + 0.1
