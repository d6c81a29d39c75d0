"""`berry status`: what a run is doing, asked from outside while it runs, after it ended, and after it was killed."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from berry.pipeline.errors import StorageError
from berry.pipeline.report.status import gather, lines, table
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run import live
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.live import Live

CONFIG = {
    "problems": [{"type": "synthetic", "count": 40, "seed": 3}],
    "engine": {"type": "synthetic", "tokens_per_s": 30},
    "rollout": {
        "policy": {"type": "fixed", "branching": [3, 2]},
        "step": {"type": "delimiter", "delimiters": ["\n"]},
    },
}


def status(folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "berry", "status", "runs/job", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_run_is_seen_running_then_lost_when_killed(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(CONFIG))
    driver = subprocess.Popen(
        [sys.executable, "-m", "berry", "run", "job.yaml", "--local"],
        cwd=tmp_path,
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    try:
        place = tmp_path / "runs/job/metrics/live.json"
        deadline = time.monotonic() + 120
        while not (place.is_file() and json.loads(place.read_text())["view"]):
            assert driver.poll() is None, "the run was over before anybody looked"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        found = status(tmp_path)
        assert found["state"] == "running"
        assert found["process"] == driver.pid
        assert found["synthetic"]
        assert found["problems"] == 40
        assert found["rounds"][0]["leases"] == 10
        assert found["view"]["total_problems"] == 40
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    assert status(tmp_path)["state"].startswith("lost: its driver on")


def a_live(**changes: Any) -> Live:
    return Live(**({"host": "a", "process": 1, "started_at": 0.0, "written_at": 100.0} | changes))


@pytest.mark.parametrize(
    ("said", "held", "now", "state"),
    [
        (None, None, 0.0, "not running"),
        (None, True, 0.0, "running"),
        (a_live(), None, 105.0, "running"),
        (a_live(), None, 140.0, "lost: its driver on a said nothing for 40 s; run it again to go on"),
        (a_live(), False, 105.0, "lost: its driver on a said nothing for 5 s; run it again to go on"),
        (a_live(ended="finished"), False, 900.0, "finished"),
        (a_live(ended="failed: disk full"), None, 101.0, "failed: disk full"),
        (a_live(ended="stopped"), True, 101.0, "running"),
    ],
)
def test_the_state_follows_from_the_lock_the_last_word_and_its_age(
    said: Live | None, held: bool | None, now: float, state: str
) -> None:
    assert live.state(said, held=held, now=now) == state


def test_every_site_has_its_own_part(tmp_path: Path) -> None:
    run = RunDir(locate(tmp_path))
    run.location.put("run.yaml", yaml.safe_dump({"name": "job"}).encode())
    view = dict.fromkeys(("problems", "total_problems", "trajectories", "kept", "running", "waiting"), 0)
    view |= {"cache_hit": None, "tokens_per_s": 12.0, "sandbox_queue": 3, "eta_s": None}
    calls = {"calling": 3, "calls": 1200, "bad_calls": 4, "call_ms": 51.2}  # views of earlier versions have none
    live.write(run, a_live(site="east", written_at=90.0, host="e", view=view | {"running": 7}, notes=["slow"]))
    live.write(run, a_live(site="west", written_at=99.0, host="w", view=view | {"running": 5, **calls}))
    live.write(run, a_live(site="north", written_at=20.0, host="n", view=view))
    found = gather(run, now=100.0)
    assert [(site["site"], site["state"][:7]) for site in found["sites"]] == [
        ("east", "running"),
        ("north", "lost: i"),
        ("west", "running"),
    ]
    assert (found["state"], found["host"]) == ("running", "w")
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(found, "x"))
    text = console.export_text()
    assert [text.count(what) for what in ("site east", "site west", "site north", "7 running", "5 running")] == [1] * 5
    assert "0 running" not in text
    assert text.count("3 waited for now; 1,200 made, 4 not ok, 51 ms each") == text.count("tool calls") == 1
    assert lines(found) == ["east: slow"]


def test_the_last_word_is_read_back_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    run = RunDir(locate(tmp_path))
    assert live.read(run) == []
    live.write(run, a_live(notes=["x"], view={"kept": 3}))
    assert live.read(run) == [a_live(notes=["x"], view={"kept": 3})]
    run.location.put("metrics/live.json", b"{half")
    with pytest.raises(StorageError, match="is damaged"):
        live.read(run)
