"""Fifty thousand trajectories of one problem fit the memory of one rollout actor."""

from __future__ import annotations

from typing import Any

import pytest

TRAJECTORIES = 50_000
BOUND_BYTES = 2 << 30
POLICIES: dict[str, dict[str, Any]] = {
    "samples": {"type": "best_of_n", "n": TRAJECTORIES},
    "tree": {"type": "fixed", "branching": [50, 20, 10, 5]},
}


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
def test_fifty_thousand_trajectories_of_one_problem_fit_two_gigabytes(berry: Any, policy: str) -> None:
    config = berry.config(
        problems=[{"type": "synthetic", "count": 1, "seed": 5}],
        rollout={"policy": POLICIES[policy]},
        pruning=[{"type": "verdict"}],
    )
    process = berry.start("run", str(config), "--local")
    out, _ = process.communicate()
    assert process.returncode == 0, out
    counted = berry.query("runs/job", "select count(*), count(distinct trajectory_id) from '{}/trajectories/*.parquet'")
    assert counted == [(TRAJECTORIES, TRAJECTORIES)], out
    assert process.peak_bytes < BOUND_BYTES
