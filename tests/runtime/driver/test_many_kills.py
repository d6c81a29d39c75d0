"""Killed twenty times at random moments, a run has the trees of an undisturbed one: no node twice, no leaf lost."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KILLS = 20
NODES = (
    "select node, parent, token_ids, text, finish, value, value_n, value_kind, seed from '{}/nodes/*.parquet' "
    "order by problem_id, node"
)
ROWS = "select trajectory_id, answer, verdict, kept from '{}/trajectories/*.parquet' order by 1"


def holds(lock: Path, pid: int) -> bool:
    return lock.exists() and f"process {pid} " in lock.read_text()


def segments(run: Path) -> set[Path]:
    return set((run / "round=0/journal").glob("lease-*/*"))


@pytest.mark.slow
def test_killed_twenty_times_a_run_ends_with_the_same_trees(berry: Any, until: Callable[..., None]) -> None:
    """Searches of many seconds in leases of four: nearly every kill hits trees half grown, which only the journal
    saves. The engine here draws the same tokens for the same seed, so trees can be compared bit by bit."""
    moments = random.Random(11)
    engine = {"type": "synthetic", "tokens_per_s": 40, "max_num_seqs": 16}
    config = str(berry.config(engine=engine, problems=[{"type": "synthetic", "count": 24, "seed": 3}]))
    run = berry.folder / "runs/job"
    died_half_grown = 0
    for kill in range(KILLS):
        before = segments(run)
        process = berry.start("run", config, "--local")
        until(lambda p=process: holds(run / ".lock", p.pid) or p.poll() is not None, what="a driver")
        if kill % 2:  # on a slow machine random moments alone may all come before the first second's journal
            until(lambda p=process, b=before: segments(run) - b or p.poll() is not None, what="a segment of a journal")
        time.sleep(moments.uniform(0.2, 1.5))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        died_half_grown += bool(segments(run))
    assert died_half_grown >= KILLS // 2, "too few kills hit a search that had begun"
    config = str(
        berry.config(engine=engine | {"tokens_per_s": None}, problems=[{"type": "synthetic", "count": 24, "seed": 3}])
    )
    code, out = berry.run("run", config, "--local", "--run", "whole")
    assert code == 0, out
    code, out = berry.run("run", config, "--local", "engine.tokens_per_s=40")
    assert code == 0, out
    assert berry.query("runs/job", NODES) == berry.query("whole", NODES)
    assert berry.query("runs/job", ROWS) == berry.query("whole", ROWS)
    assert list((run / "round=0/journal").iterdir()) == []
