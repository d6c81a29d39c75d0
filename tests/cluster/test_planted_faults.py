"""Faults of storage, of clocks, of a problem, of actors and of the driver, on a real Ray cluster of two logical nodes:
what its processes are told from inside (`planted`), a store that errs, kills. What is written equals an undisturbed
run."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.run import plain
from berry.pipeline.errors import StorageError
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.stages.dataset.maintenance.repair import check_run
from berry.pipeline.storage.run.directory import open_run
from berry.pipeline.storage.run.duckdb_views import connect

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

NODES, LEASES = 2, 6
PLANTED = Path(__file__).parent / "planted"


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def nodes(logical_nodes: Callable[..., Any], orders: Path, store_env: dict[str, str]) -> Any:
    """Their processes carry out what is ordered, and reach the object store."""
    return logical_nodes(NODES, {"PYTHONPATH": str(PLANTED), "BERRY_TEST_FAULTS": str(orders), **store_env})


@pytest.fixture
def address(nodes: Any) -> str:
    return nodes.address


@pytest.fixture
def order(orders: Path) -> Iterator[Callable[[str, str], object]]:
    """order(fault, how), until the test ends."""
    yield lambda fault, how: (orders / fault).write_text(how)
    for file in orders.iterdir():
        file.unlink()


STOPPED_WHILE_IT_JOINS = """
import asyncio, os, signal, sys
from berry.pipeline.runtime.cluster.connect import disconnect, join
from berry.pipeline.runtime.driver.signals import on_stop

async def main():
    stopped = asyncio.Event()
    with on_stop(stopped.set):
        await asyncio.to_thread(join, sys.argv[1])
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stopped.wait(), 10)
    disconnect()

asyncio.run(main())
"""


def assert_whole(place: str, found: list[tuple[Any, ...]], undisturbed: list[tuple[Any, ...]]) -> None:
    assert found == undisturbed
    checked = check_run(open_run(place))
    assert (checked.leases, checked.faults, checked.notes) == (LEASES, [], [])


def test_sigterm_while_ray_starts_shows_nothing_of_rays_own(address: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_WHILE_IT_JOINS, address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_disk_that_is_full_and_then_read_only_ends_each_run_and_the_next_goes_on(
    address: str,
    order: Any,
    orders: Path,
    tmp_path: Path,
    job: Any,
    quiet: Any,
    undisturbed: Any,
    rows: Any,
    on_nodes: Any,
) -> None:
    place, config = str(tmp_path / "run"), job(cluster=on_nodes(NODES))
    for number, table, done in ((errno.ENOSPC, "nodes", 2), (errno.EROFS, "trajectories", 3)):
        order("disk", json.dumps({"errno": number, "table": table, "after": done}))
        with pytest.raises(StorageError, match=f"can't be written: {os.strerror(number)}"):
            run(config, Launch(place, address), quiet)
        for file in orders.iterdir():
            file.unlink()
        assert len(open_run(place).committed(0)) < LEASES
    assert run(config, Launch(place, address), quiet).finished
    assert_whole(place, rows(place), undisturbed)


def test_a_store_that_errs_and_is_slow_and_clocks_that_jump_change_nothing(
    address: str,
    order: Any,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
    job: Any,
    quiet: Any,
    undisturbed: Any,
    rows: Any,
    on_nodes: Any,
) -> None:
    chance, now, place = random.Random(7), time.time, s3.url("runs/job")

    def jumping() -> float:
        """Not for Ray, which gives up a cluster that it has waited a day for."""
        asked_by = sys._getframe(1).f_code.co_filename
        return now() + (0.0 if "/ray/" in asked_by else chance.choice([-1e6, -3600.0, 0.0, 86400.0, 1e8]))

    monkeypatch.setattr(time, "time", jumping)
    order("clocks", "jump")
    s3.faults(error_rate=0.05, delay_s=0.01)
    storage = {"site": "west", "silent_s": 2.0}
    assert run(job(cluster=on_nodes(NODES), storage=storage), Launch(place, address), quiet).finished
    counts = s3.counts()
    assert counts["failed"] > 0, counts
    s3.faults()
    assert_whole(place, rows(place), undisturbed)


def test_the_problem_that_kills_every_engine_is_quarantined_and_all_others_are_as_ever(
    address: str,
    order: Any,
    orders: Path,
    tmp_path: Path,
    job: Any,
    quiet: Any,
    undisturbed: Any,
    rows: Any,
    on_nodes: Any,
) -> None:
    """Two of the engines that are started again don't load at first, as where memory comes back late."""
    place, poison = str(tmp_path / "run"), "synthetic-3-5"
    order("poison", poison)
    order("memory", "2")
    outcome = run(job(cluster=on_nodes(NODES)), Launch(place, address), quiet)
    assert outcome.finished
    assert outcome.totals.lost_workers >= 3
    assert outcome.totals.drops["quarantined"] == 1
    assert len(list(orders.glob("unloaded-*"))) == 2
    by_problem = "select problem_id, count(*) from trajectories group by 1"
    counts = dict(connect(open_run(place)).execute(by_problem).fetchall())
    assert counts.pop(poison) == 1
    assert sorted(counts.values()) == [6] * 23
    others = {row for row in rows(place) if row[0] != f"{poison}/-"}
    assert others < set(undisturbed)


def test_killed_actors_cost_no_trajectory_and_no_verdict(
    nodes: Any, berry: Any, until: Callable[..., None], tmp_path: Path, job: Any, quiet: Any, rows: Any, on_nodes: Any
) -> None:
    """Checked by programs: sums would need no sandbox."""
    programs = [{"type": "synthetic", "count": 24, "seed": 3, "check": {"cpu_ms": 5}}]
    assert run(job(problems=programs), Launch(str(tmp_path / "whole"), local=True), quiet).finished
    paced = {"type": "synthetic", "tokens_per_s": 100, "max_num_seqs": 8}
    config = job(cluster=on_nodes(NODES), engine=paced, problems=programs)
    driver = berry.start("run", berry.config(plain(config)), "--address", nodes.address)
    folder = berry.folder / "runs/job/round=0/trajectories"
    until(lambda: any(folder.glob("shard-*")) or driver.poll() is not None, what="a committed lease")
    nodes.actors("SandboxActor")[0].kill()
    nodes.actors("RolloutActor")[0].kill()
    out, _ = driver.communicate(timeout=200)
    assert driver.returncode == 0, out
    assert re.search(r"recovered +1 workers\b.* lost", out), out
    assert_whole(str(berry.folder / "runs/job"), rows(str(berry.folder / "runs/job")), rows(str(tmp_path / "whole")))


def test_a_killed_driver_leaves_the_cluster_to_the_next_which_resumes(
    address: str,
    berry: Any,
    until: Callable[..., None],
    job: Any,
    quiet: Any,
    undisturbed: Any,
    rows: Any,
    on_nodes: Any,
) -> None:
    engine = {"type": "synthetic", "tokens_per_s": 100, "max_num_seqs": 8}
    paced = job(cluster=on_nodes(NODES), engine=engine, storage={"compact": False})
    driver = berry.start("run", berry.config(plain(paced)), "--address", address)
    folder = berry.folder / "runs/job/round=0/trajectories"
    until(lambda: any(folder.glob("shard-*")) or driver.poll() is not None, what="a committed lease")
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*")}
    assert 0 < len(before) < LEASES, "the run was over before its driver was killed"
    place = str(berry.folder / "runs/job")
    assert run(paced, Launch(place, address), quiet).finished
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before, "a commit was written again"
    assert_whole(place, rows(place), undisturbed)
