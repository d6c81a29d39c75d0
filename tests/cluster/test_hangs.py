"""What hangs or ends on Ray is noticed, said in one line, and replaced; where nothing can go on, the run ends with one
error and is resumed."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

ONCE = "select count(*), count(distinct trajectory_id), count(distinct problem_id) from '{}/trajectories/*.parquet'"
UNCHECKED = "select count(*) from '{}/trajectories/*.parquet' where verdict not in ('pass', 'fail')"


def job(problems: int, **changes: Any) -> dict[str, Any]:
    return {
        "problems": [{"type": "synthetic", "count": problems, "seed": 3, "check": {"cpu_ms": 1, "wait_ms": 20}}],
        "engine": {"type": "synthetic", "tokens_per_s": 160, "max_num_seqs": 16},
        "rollout": {
            "policy": {"type": "fixed", "branching": [3, 1, 2]},
            "step": {"type": "delimiter", "delimiters": ["\n"]},
        },
        "storage": {"stall_s": 4},
        "cluster": {
            "name": "one",
            "nodes": {"node": {"cores": 2}},
            "roles": {"rollout": {"cpus": 1}, "sandbox": {"cpus": 0.5, "slots": 1, "max": 2}},
        },
        **changes,
    }


def commits(berry: Any) -> list[Path]:
    return sorted((berry.folder / "runs/job/round=0/trajectories").glob("shard-*.parquet"))


def start(berry: Any, until: Callable[..., None], problems: int) -> tuple[str, Any]:
    """The configuration's path, and a driver that has committed something on a Ray of its own."""
    path = berry.config(job(problems))
    driver = berry.start("run", path)
    until(lambda: commits(berry) or driver.poll() is not None, what="a committed lease")
    assert driver.poll() is None, driver.communicate()[0]
    return path, driver


def test_a_raylet_that_is_killed_ends_the_run_with_one_line_and_it_is_resumed(
    berry: Any, until: Callable[..., None]
) -> None:
    path, driver = start(berry, until, 60)
    (raylet,) = [p for p in psutil.Process(driver.pid).children() if p.name() == "raylet"]
    raylet.kill()
    out = driver.communicate(timeout=90)[0]
    assert driver.returncode == 2, out
    assert "the Ray that was started for this run has ended" in out
    assert "Traceback" not in out
    assert "state-dump" not in out
    assert "Started a local Ray instance" not in out
    code, out = berry.run("run", path, "--local")
    assert code == 0, out
    assert berry.query("runs/job", ONCE) == [(360, 360, 60)]


def test_a_sandbox_actor_that_freezes_is_replaced(berry: Any, until: Callable[..., None]) -> None:
    _, driver = start(berry, until, 60)
    frozen = berry.actor("SandboxActor")
    frozen.send_signal(signal.SIGSTOP)
    out = driver.communicate(timeout=200)[0]
    assert driver.returncode == 0, out
    assert re.search(r"sandbox-\d made no progress for \d+ s \(storage.stall_s 4\)", out), out
    assert "1 sandbox actors lost" in out, "the summary counts it"
    assert berry.query("runs/job", ONCE) == [(360, 360, 60)]
    assert berry.query("runs/job", UNCHECKED) == [(0,)]


def test_lost_actors_are_a_line_each_and_counted_in_the_summary(berry: Any, until: Callable[..., None]) -> None:
    _, driver = start(berry, until, 60)
    berry.actor("RolloutActor").kill()
    berry.actor("SandboxActor").kill()
    out = driver.communicate(timeout=200)[0]
    assert driver.returncode == 0, out
    (line,) = [line for line in out.splitlines() if " was lost (" in line]
    assert re.match(
        r"\d\d:\d\d:\d\d rollout-0 on \S+ was lost \(.+\); its (lease is|\d leases are) handed out again", line
    )
    noticed = r"(was lost; it is|made no progress for \d+ s \(storage.stall_s 4\): it is ended and) started again"
    assert re.search(rf"sandbox-\d {noticed}, and what it was asked is asked elsewhere", out), out
    assert "recovered" in out
    assert "1 workers, 1 sandbox actors lost" in out
    assert berry.query("runs/job", ONCE) == [(360, 360, 60)]


def test_sandbox_actors_that_get_no_more_file_descriptors_lose_no_verdict(
    berry: Any, until: Callable[..., None]
) -> None:
    """Their sandboxes are there already: what they hold is enough to go on with."""
    _, driver = start(berry, until, 60)
    starved = [p for p in berry.processes() if p.name().startswith("ray::SandboxActor")]
    assert starved
    for process in starved:
        held = process.num_fds()
        process.rlimit(psutil.RLIMIT_NOFILE, (held, held))
    out = driver.communicate(timeout=200)[0]
    assert driver.returncode == 0, out
    assert berry.query("runs/job", ONCE) == [(360, 360, 60)]
    assert berry.query("runs/job", UNCHECKED) == [(0,)]
