"""A run whose model calls tools, killed and gone on with on Ray, has the trees of an undisturbed one."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

NODES = (
    "select node, parent, role, token_ids, text, finish, value, value_n, call_outcome from '{}/nodes/*.parquet' "
    "order by problem_id, node"
)
ROWS = "select trajectory_id, answer, verdict, kept, drop_reason from '{}/trajectories/*.parquet' order by 1"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_killed_run_with_tools_goes_on_on_ray_with_the_same_trees(berry: Any, until: Callable[..., None]) -> None:
    problems = [{"type": "synthetic", "count": 4, "seed": 3}]
    rollout = {
        "policy": {"type": "fixed", "branching": [3, 2]},
        "step": {"type": "delimiter", "delimiters": ["\n\n"]},
        "sampling": {"max_tokens": 1000},
        "tools": [{"type": "python"}],
    }
    engine = {"type": "synthetic", "call_share": 0.4, "max_num_seqs": 256}
    config = str(berry.config(problems=problems, rollout=rollout, engine=engine))
    run = berry.folder / "runs/job"
    for _ in range(2):
        before = set(run.glob("round=0/journal/*/*"))
        process = berry.start("run", config, "--local", "engine.tokens_per_s=200")
        until(
            lambda b=before, p=process: set(run.glob("round=0/journal/*/*")) - b or p.poll() is not None,
            what="a segment of a journal",
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
    code, out = berry.run("run", config, "engine.tokens_per_s=200", timeout_s=400)
    assert code == 0, out
    code, out = berry.run("run", config, "--local", "--run", "whole")
    assert code == 0, out
    assert "calls" in out
    assert berry.query("runs/job", NODES) == berry.query("whole", NODES)
    assert berry.query("runs/job", ROWS) == berry.query("whole", ROWS)
    assert {role for (role,) in berry.query("runs/job", "select distinct role from '{}/nodes/*.parquet'")} == {
        "assistant",
        "tool",
    }
