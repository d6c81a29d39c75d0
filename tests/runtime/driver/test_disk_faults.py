"""A disk that is full or read-only, and clocks that jump: one clear error or none, and the next run goes on."""

from __future__ import annotations

import errno
import os
import random
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.errors import StorageError
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.stages.dataset.maintenance.repair import check_run
from berry.pipeline.storage import files
from berry.pipeline.storage.run.directory import open_run


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
@pytest.mark.parametrize("table", ["nodes", "trajectories"])
def test_a_disk_that_takes_no_more_ends_the_run_and_the_next_goes_on(
    number: int,
    table: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: Any,
    quiet: Any,
    undisturbed: Any,
    rows: Any,
) -> None:
    write, written = files._write_local, 0

    def until_full(path: str, data: Any, *, durable: bool) -> None:
        nonlocal written
        written += f"/{table}/" in path
        if written > 2:
            write(path, bytes(data)[:100], durable=False)
            raise OSError(number, os.strerror(number))
        write(path, data, durable=durable)

    place = str(tmp_path / "run")
    monkeypatch.setattr(files, "_write_local", until_full)
    with pytest.raises(StorageError, match=rf"can't be written: {os.strerror(number)}"):
        run(job(), Launch(place, local=True), quiet)
    monkeypatch.undo()
    assert len(open_run(place).committed(0)) < 6
    assert run(job(), Launch(place, local=True), quiet).finished
    assert rows(place) == undisturbed
    found = check_run(open_run(place))
    assert (found.leases, found.faults, found.notes) == (6, [], [])


def test_clocks_that_jump_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Any, quiet: Any, undisturbed: Any, rows: Any
) -> None:
    chance, now = random.Random(7), time.time
    monkeypatch.setattr(time, "time", lambda: now() + chance.choice([-1e6, -3600.0, 0.0, 86400.0, 1e8]))
    place = str(tmp_path / "run")
    assert run(job(storage={"site": "west", "silent_s": 1.0}), Launch(place, local=True), quiet).finished
    assert rows(place) == undisturbed


@pytest.mark.slow
def test_a_real_limit_on_file_sizes_is_one_clear_error(
    berry: Any, undisturbed: Any, rows: Any, job: Any, quiet: Any
) -> None:
    problems = [{"type": "synthetic", "count": 24, "seed": 3}]
    path = str(berry.config(problems=problems))
    process = berry.start("run", path, "--local", "--run", "job")
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (9_000, 9_000))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 3, out
    assert "can't be written: File too large" in out
    assert "Traceback" not in out
    place = str(berry.folder / "job")
    assert run(job(), Launch(place, local=True), quiet).finished
    assert rows(place) == undisturbed


@pytest.mark.slow
def test_a_read_only_place_is_refused_before_anything_starts(berry: Any) -> None:
    code, out = berry.run("run", str(berry.config()), "--local", "--run", "/sys/berry")
    assert code == 2, out
    assert "can't be written" in out
    assert "starting the engine" not in out
    assert "Traceback" not in out
