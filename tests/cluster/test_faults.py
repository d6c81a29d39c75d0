"""Faults on a real Ray cluster of three logical nodes: engines that hang or run out of memory, nodes that go and come,
a head that dies. What is written equals that of an undisturbed run, by ids, verdicts and counts."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

ROWS = "select trajectory_id, verdict, kept from '{}/trajectories/*.parquet' order by 1"
ONCE = "select count(*), count(distinct trajectory_id), count(distinct problem_id) from '{}/trajectories/*.parquet'"
TOKENS = "select sum(len(token_ids)) from '{}/nodes/*.parquet' where parent is not null"
COUNTING = Path(__file__).parent / "planted"


@pytest.fixture
def config(on_nodes: Callable[[int], Any]) -> Callable[..., dict[str, Any]]:
    """config(60, nodes=3) -> 60 problems of 480 tokens each, in segments of 40, on three nodes."""
    return lambda problems, *, nodes, **changes: {
        "problems": [{"type": "synthetic", "count": problems, "seed": 3}],
        "engine": {"type": "synthetic", "tokens_per_s": 80, "max_num_seqs": 16},
        "rollout": {
            "policy": {"type": "fixed", "branching": [3, 1, 2]},
            "step": {"type": "delimiter", "delimiters": ["\n"]},
        },
        "cluster": on_nodes(nodes),
        **changes,
    }


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the cluster's engines count in."""
    return tmp_path_factory.mktemp("nodes") / "tokens"


@pytest.fixture(scope="module")
def nodes(logical_nodes: Callable[..., Any], counted: Path) -> Any:
    return logical_nodes(3, {"PYTHONPATH": str(COUNTING), "BERRY_TEST_TOKENS": str(counted)})


def commits(berry: Any) -> list[Path]:
    return sorted((berry.folder / "runs/job/round=0/trajectories").glob("shard-*.parquet"))


def assert_as_undisturbed(berry: Any, path: str, problems: int) -> None:
    code, out = berry.run("run", path, "engine.tokens_per_s=null", "--run", "whole", "--local")
    assert code == 0, out
    assert berry.query("runs/job", ONCE) == [(6 * problems, 6 * problems, problems)]
    assert berry.query("runs/job", ROWS) == berry.query("whole", ROWS)


def test_an_engine_that_hangs_and_one_out_of_memory_cost_nothing(
    berry: Any, nodes: Any, until: Callable[..., None], config: Any
) -> None:
    path = berry.config(config(60, nodes=3, storage={"stall_s": 4}))
    driver = berry.start("run", path, "--address", nodes.address)
    until(lambda: len(commits(berry)) >= 2 or driver.poll() is not None, what="two committed leases")
    hung, starved, _ = nodes.actors("RolloutActor")
    hung.send_signal(signal.SIGSTOP)
    starved.rlimit(psutil.RLIMIT_AS, (starved.memory_info().vms, starved.memory_info().vms))
    out = driver.communicate(timeout=200)[0]
    assert driver.returncode == 0, out
    assert re.search(r"rollout-\d made no progress for \d+ s", out), out
    assert not hung.is_running() or hung.status() == psutil.STATUS_ZOMBIE
    assert_as_undisturbed(berry, path, 60)


def test_chaos_a_kill_every_few_seconds_loses_nothing_and_wastes_little(
    berry: Any, nodes: Any, counted: Path, until: Callable[..., None], config: Any
) -> None:
    """Actors and whole nodes die, nodes come back. Every sample is counted where it is made, those that an engine's
    death cut short in full; wasted is what is more than the trees hold."""
    chance = random.Random(3)
    path = berry.config(config(200, nodes=3))
    counted.unlink(missing_ok=True)
    driver = berry.start("run", path, "--address", nodes.address)
    until(lambda: len(commits(berry)) >= 2 or driver.poll() is not None, what="two committed leases")
    done: list[str] = []
    for kind in ("RolloutActor", "node", "SandboxActor", "RolloutActor", "node", "SandboxActor"):
        if driver.poll() is not None:
            break
        if kind == "node":
            nodes.replace(chance.randrange(len(nodes.others)))
        else:
            victims = nodes.actors(kind)
            if not victims:
                continue
            chance.choice(victims).kill()
        done.append(kind)
        time.sleep(chance.uniform(1.5, 3.0))
    out = driver.communicate(timeout=200)[0]
    assert driver.returncode == 0, out
    assert len(done) >= 4, f"the run was over after {done}"
    assert_as_undisturbed(berry, path, 200)
    lost = berry.figures("runs/job")["lost_workers"]
    made = sum(int(line.split()[3]) for line in counted.read_text().splitlines() if line.startswith("begin"))
    (useful,) = berry.query("whole", TOKENS)[0]
    print(f"kills {done}, workers lost {lost}, {made} tokens made, {useful} of use: {made / useful - 1:.1%} wasted")
    assert lost >= 2
    assert useful <= made < 1.1 * useful


def test_a_dead_head_ends_the_run_with_one_error_and_it_is_resumed(
    berry: Any, logical_nodes: Callable[..., Any], until: Callable[..., None], config: Any
) -> None:
    path = berry.config(config(60, nodes=2))
    nodes = logical_nodes(2, gcs_rpc_server_reconnect_timeout_s=3)
    driver = berry.start("run", path, "--address", nodes.address)
    until(lambda: len(commits(berry)) >= 2 or driver.poll() is not None, what="two committed leases")
    for started in [process for all_ in nodes.cluster.head_node.all_processes.values() for process in all_]:
        started.process.kill()
    out = driver.communicate(timeout=120)[0]
    assert driver.returncode != 0, out
    before = {p.name: p.stat().st_mtime_ns for p in commits(berry)}
    assert 0 < len(before) < 15, out
    code, out = berry.run("run", path, "--local", "storage.compact=false")
    assert code == 0, out
    assert {p.name: p.stat().st_mtime_ns for p in commits(berry) if p.name in before} == before
    assert_as_undisturbed(berry, path, 60)
