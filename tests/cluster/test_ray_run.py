"""`berry run` on a real Ray cluster of its own: whole, killed, resumed. Nothing is lost, done twice or left running."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.stages.dataset.maintenance.repair import check_run
from berry.pipeline.stages.dataset.stream import KeptStream
from berry.pipeline.stages.dataset.text_views import connect
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.run.directory import open_run

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

TINY = Path(__file__).resolve().parents[2] / "configs" / "tiny.yaml"
SMALL = ("problems.0.count=16", "engine.threads=1")  # two leases; beside other tests a second thread waits for a core
PACED: dict[str, Any] = {
    "problems": [{"type": "synthetic", "count": 60, "seed": 3}],
    "engine": {"type": "synthetic", "tokens_per_s": 100, "max_num_seqs": 64},
    "rollout": {
        "policy": {"type": "fixed", "branching": [3, 2]},
        "step": {"type": "delimiter", "delimiters": ["\n"]},
    },
}
COUNTS = "select count(*), count(distinct trajectory_id), count(distinct problem_id) from '{}/trajectories/*.parquet'"


def commits(berry: Any) -> list[Path]:
    return sorted((berry.folder / "runs/job/round=0/trajectories").glob("shard-*.parquet"))


def followed(place: str, process: Any, until: Callable[..., None]) -> tuple[list[tuple[int, str]], int]:
    """(round, trajectory) of every kept row of a run, streamed while it goes on by a reader that begins anew from its
    cursor after every third row; and how many came before the run had ended."""
    until(lambda: locate(place).exists("run.yaml") or process.poll() is not None, what="the run directory")

    def wait(poll_s: float) -> None:
        assert not process.poll(), process.communicate()[0]
        time.sleep(poll_s)

    given: list[tuple[int, str]] = []
    cursor, early = None, 0
    while True:
        stream = KeptStream(open_run(place), cursor=cursor, poll_s=0.5, wait=wait)
        rows = list(islice(stream, 3))
        given += [(row["round"], row["trajectory_id"]) for row in rows]
        early += len(rows) if process.poll() is None else 0
        cursor = stream.cursor
        if len(rows) < 3:
            return given, early


@pytest.mark.engine
def test_the_tiny_model_runs_from_config_to_kept_parquet_on_a_store_learns_and_runs_again(
    berry: Any, until: Callable[..., None], s3: Any
) -> None:
    place, learn = s3.url("runs/tiny"), "rounds={count: 2, train: [], policy: {epochs: 1, min_kept: 1}}"
    process = berry.start("run", str(TINY), *SMALL, learn, "--run", place, env=s3.env)
    given, while_it_ran = followed(place, process, until)
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out
    stored = open_run(place)
    assert while_it_ran > 0
    assert sorted(given) == sorted((row["round"], row["trajectory_id"]) for row in KeptStream(stored, follow=False))
    assert len(given) == len(set(given))
    assert {index for index, _ in given} == {0, 1}
    assert all(file.is_merged for index in (0, 1) for file in shard_files.committed_files(stored.location, index))
    tables = connect(stored)
    asked = "select round, count(distinct problem_id) from trajectories group by 1 order by 1"
    assert tables.execute(asked).fetchall() == [(0, 16), (1, 16)]
    kept = tables.execute("select response, answer, verdict, synthetic from kept").fetchall()
    assert kept, out
    for response, answer, verdict, synthetic in kept:
        assert response.strip().splitlines()[-1] == answer
        assert verdict == "pass"
        assert not synthetic
    verdicts = dict(tables.execute("select verdict, count(*) from trajectories group by 1").fetchall())
    assert verdicts["fail"] > 0, "a model that is never wrong proves nothing here"
    asked = "select distinct round, weights_version from nodes where parent is not null order by 1"
    (_, before), (_, after) = tables.execute(asked).fetchall()
    assert after == "policy-r0" != before
    assert {"config.json", "card.json", "model.safetensors"} <= set(stored.location.names("round=0/weights/policy"))
    assert check_run(stored).faults == []
    until(lambda: not berry.processes(), within_s=30, what="the end of every process of the run")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_killed_driver_leaves_no_process_and_is_resumed(berry: Any, until: Callable[..., None], number: int) -> None:
    config = berry.config(PACED)
    driver = berry.start("run", config)
    until(lambda: len(commits(berry)) >= 2, what="two committed leases")
    driver.send_signal(number)
    driver.communicate(timeout=60)
    until(lambda: not berry.processes(), within_s=40, what="the end of every process of the run")
    before = {p.name: p.stat().st_mtime_ns for p in commits(berry)}
    assert len(before) < 15, "the run was over before it was killed"
    code, out = berry.run("run", config, "--local", "storage.compact=false")  # test_planted_faults resumes on a cluster
    assert code == 0, out
    assert f"resuming: {len(before)} of 15" in out
    after = {p.name: p.stat().st_mtime_ns for p in commits(berry)}
    assert {name: after[name] for name in before} == before, "a committed lease was written again"
    assert berry.query("runs/job", COUNTS) == [(360, 360, 60)]


def test_an_unreachable_cluster_is_one_clear_error(berry: Any) -> None:
    code, out = berry.run("run", berry.config(PACED), "--address", "127.0.0.1:1")
    assert code == 2, out
    assert "can't be reached" in out
    assert "Traceback" not in out


def test_roles_that_do_not_fit_say_what_fits(berry: Any) -> None:
    code, out = berry.run("run", berry.config(PACED), "cluster.roles.rollout.gpus=1", "cluster.nodes.a.cores=2")
    assert code == 2, out
    assert "GPUs" in out
    assert "Traceback" not in out
