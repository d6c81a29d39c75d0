"""Runs whose problems and results are on an object store: a real S3 API, which errs, is slow, or refuses."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.errors import StorageError
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.stages.dataset.maintenance.repair import check_run
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from berry.pipeline.storage import remote
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.directory import open_run

pytestmark = pytest.mark.slow

PROBLEMS = 24


def test_a_store_that_errs_and_is_slow_changes_nothing_but_the_time(
    s3: Any, undisturbed: Any, rows: Any, job: Any, quiet: Any
) -> None:
    lines = "".join(f"{p.model_dump_json()}\n" for p in synthetic_problems(PROBLEMS, 3))
    locate(s3.url("in")).put("problems.jsonl", lines.encode())
    from_store = job(problems=[{"type": "file", "path": s3.url("in/problems.jsonl")}])
    s3.faults(error_rate=0.05, delay_s=0.01)
    outcome = run(from_store, Launch(s3.url("runs/job"), local=True), quiet)
    counts = s3.counts()
    assert outcome.finished
    assert counts["failed"] > 0, counts
    s3.faults()
    assert rows(s3.url("runs/job")) == undisturbed
    found = check_run(open_run(s3.url("runs/job")))
    assert (found.leases, found.faults, found.notes) == (PROBLEMS // 4, [], [])


def test_a_store_that_is_away_for_some_seconds_is_told_and_costs_nothing_else(
    s3: Any, undisturbed: Any, rows: Any, job: Any, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "TRIES_S", (0.1,) * 300)
    place = s3.url("runs/job")

    def away() -> None:
        while not locate(place).names("round=0/trajectories"):
            time.sleep(0.1)
        s3.faults(error_rate=1.0)
        while not any("does not answer" in note for note in quiet.notes):
            time.sleep(0.1)
        s3.faults()

    paced = {"type": "synthetic", "tokens_per_s": 60, "max_num_seqs": 16}
    with ThreadPoolExecutor(1) as pool:
        trouble = pool.submit(away)
        assert run(job(engine=paced), Launch(place, local=True), quiet).finished
        trouble.result()
    told = [note for note in quiet.notes if note.startswith("the store ")]
    assert len(told) == 2, quiet.notes
    assert "answers again" in told[1]
    assert rows(place) == undisturbed


def test_a_store_that_stays_away_ends_the_run_with_one_line_and_spoils_nothing(
    s3: Any, undisturbed: Any, rows: Any, job: Any, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "TRIES_S", (0.1,) * 6)
    place, said_before = s3.url("runs/job"), len(quiet.notes)

    def away() -> None:
        while not locate(place).names("round=0/trajectories"):
            time.sleep(0.1)
        s3.faults(error_rate=1.0)

    paced = {"type": "synthetic", "tokens_per_s": 60, "max_num_seqs": 16}
    with ThreadPoolExecutor(1) as pool:
        trouble = pool.submit(away)
        with pytest.raises(StorageError) as raised:
            run(job(engine=paced), Launch(place, local=True), quiet)
        trouble.result()
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(place), "it says what could not be read or written"
    notes = quiet.notes[said_before:]
    assert sum("does not answer" in note for note in notes) == 1, notes
    s3.faults()
    assert rows(place)
    assert all(row in undisturbed for row in rows(place)), "what was written before is as it would have been"


def test_killed_on_a_store_a_run_is_resumed_and_a_second_one_refused(
    s3: Any, berry: Any, until: Callable[..., None], undisturbed: Any, rows: Any, job: Any, quiet: Any
) -> None:
    berry.environment = s3.env
    paced = {"type": "synthetic", "tokens_per_s": 30, "max_num_seqs": 32}
    path = str(berry.config(engine=paced, problems=[{"type": "synthetic", "count": PROBLEMS, "seed": 3}]))
    same = job(engine=paced)
    place = s3.url("runs/job")
    process = berry.start("run", path, "--local", "--run", place)
    folder = locate(place)
    until(lambda: folder.names("round=0/trajectories") or process.poll() is not None, what="a commit")
    with pytest.raises(StorageError, match="another `berry run` is writing here"):
        run(same, Launch(place, local=True), quiet)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = folder.names("round=0/trajectories")
    assert 0 < len(before) < PROBLEMS // 4, "the run was over before it was killed"
    assert run(same, Launch(place, local=True), quiet).finished
    assert f"resuming: {len(before)} of {PROBLEMS // 4} leases are committed" in quiet.notes
    assert rows(place) == undisturbed
    code, out = berry.run("inspect", place)
    assert code == 0, out
    code, out = berry.run("check", place)
    assert code == 0, out
    assert "whole" in out


def test_refusals_of_a_store_are_one_clear_error_before_anything_starts(s3: Any, berry: Any, tmp_path: Path) -> None:
    path = str(berry.config())
    berry.environment = s3.env
    code, out = berry.run("run", path, "--local", "--run", "s3://berry-no-such-bucket/job")
    assert code == 2, out
    assert "no such bucket" in out
    assert "Traceback" not in out
    s3.faults(signed_only=True)
    berry.environment = {**s3.env, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)}
    code, out = berry.run("run", path, "--local", "--run", s3.url("runs/job"))
    assert code == 2, out
    assert "AWS_ACCESS_KEY_ID" in out
    assert "Traceback" not in out
    assert "starting the engine" not in out
