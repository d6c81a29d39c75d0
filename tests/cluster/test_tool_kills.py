"""Driver, engines and sandboxes of a run with tools, killed twenty times at random moments: it has the trees of an
undisturbed run, every call's result once and as it was."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

KILLS = 20
VICTIMS = ("RolloutActor", "SandboxActor", "driver")  # in turn: a lease that loses two engines in a row is a suspect
PROBLEMS = 40
NODES = (
    "select problem_id, node, parent, role, token_ids, text, finish, value, value_n, call_outcome, nondeterministic "
    "from '{}/nodes/*.parquet' order by problem_id, node"
)
ROWS = "select trajectory_id, answer, verdict, kept, drop_reason from '{}/trajectories/*.parquet' order by 1"
CALLS = "select count(*), count(distinct problem_id), sum(len(token_ids)) from '{}/nodes/*.parquet' where role = 'tool'"


def journals(run: Path) -> set[Path]:
    return set((run / "round=0/journal").glob("lease-*/*"))


@pytest.mark.timeout(1800)
def test_a_run_with_tools_killed_twenty_times_loses_no_call_and_changes_no_result(
    berry: Any, logical_nodes: Callable[..., Any], on_nodes: Callable[[int], Any], until: Callable[..., None]
) -> None:
    chance = random.Random(5)
    nodes = logical_nodes(2)
    path = berry.config(
        {
            "problems": [{"type": "synthetic", "count": PROBLEMS, "seed": 3}],
            "engine": {
                "type": "synthetic", "tokens_per_s": 40, "max_num_seqs": 16, "call_share": 0.5, "call_mean_ms": 100,
            },
            "rollout": {
                "policy": {"type": "fixed", "branching": [3, 2]},
                "step": {"type": "delimiter", "delimiters": ["\n\n"]},
                "sampling": {"max_tokens": 1500},
                "tools": [{"type": "python", "sessions": 8}],
            },
            "cluster": on_nodes(2),
        }
    )  # fmt: skip
    run = berry.folder / "runs/job"
    words = ("run", path, "--address", nodes.address)
    killed: Counter[str] = Counter()
    driver = berry.start(*words)
    before = journals(run)
    while killed.total() < KILLS:
        until(
            lambda b=before, d=driver: journals(run) - b or d.poll() is not None,
            within_s=300,
            what="a segment of a journal",
        )
        time.sleep(chance.uniform(0.2, 1.5))
        assert driver.poll() is None, f"the run was over after {killed}: {driver.communicate()[0]}"
        victim = VICTIMS[killed.total() % len(VICTIMS)]
        before = journals(run)
        if victim == "driver":
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            driver = berry.start(*words)
        else:
            until(lambda v=victim: nodes.actors(v), within_s=300, what=f"a {victim}")
            chance.choice(nodes.actors(victim)).kill()
        killed[victim] += 1
    out = driver.communicate(timeout=600)[0]
    assert driver.returncode == 0, out
    code, out = berry.run("run", path, "engine.tokens_per_s=null", "--run", "whole", "--local", timeout_s=400)
    assert code == 0, out
    assert berry.query("runs/job", CALLS) == berry.query("whole", CALLS)
    assert berry.query("runs/job", NODES) == berry.query("whole", NODES)
    assert berry.query("runs/job", ROWS) == berry.query("whole", ROWS)
    assert journals(run) == set()
