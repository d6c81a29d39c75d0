from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from pipeline.config.loading import validate
from pipeline.config.run import RunConfig
from pipeline.report.tables import connect
from pipeline.runtime.driver import run
from pipeline.runtime.outcome import Launch
from pipeline.storage.dataset import open_run

SYNTHETIC: dict[str, Any] = {
    "problems": [{"type": "synthetic", "count": 40, "seed": 3}],
    "engine": {"type": "synthetic"},
    "rollout": {
        "policy": {"type": "fixed", "branching": [3, 2]},
        "step": {"type": "delimiter", "delimiters": ["\n"]},
    },
}


@dataclass
class Berry:
    """The command line in its own process, with its own session, so that nothing of it outlives a test unseen."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def config(self, **changes: Any) -> Path:
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(SYNTHETIC | changes))
        return path

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **self.environment},
        )
        self.started.append(process)
        return process

    def run(self, *words: str, timeout_s: float = 120) -> tuple[int, str]:
        process = self.start(*words)
        out, _ = process.communicate(timeout=timeout_s)
        return process.returncode, out

    def query(self, run: str, sql: str) -> list[tuple[Any, ...]]:
        return duckdb.sql(sql.replace("{}", f"{self.folder / run}/round=0")).fetchall()


@pytest.fixture
def berry(tmp_path: Path) -> Iterator[Berry]:
    berry = Berry(tmp_path)
    yield berry
    for process in berry.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Quiet:
    """A display that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def phase(self, text: str) -> None: ...

    def update(self, view: Any) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="session")
def quiet() -> Quiet:
    return Quiet()


@pytest.fixture(scope="session")
def job() -> Callable[..., RunConfig]:
    """The configuration of a run of 24 problems, 144 trajectories, in 6 leases."""

    def make(**changes: Any) -> RunConfig:
        problems = [{"type": "synthetic", "count": 24, "seed": 3}]
        return validate({"name": "job", **SYNTHETIC, "problems": problems, **changes}, RunConfig, where="test")

    return make


@pytest.fixture(scope="session")
def rows() -> Callable[[str], list[tuple[Any, ...]]]:
    """rows(place) -> what a run made of its problems, whatever happened to it on the way."""
    query = "select trajectory_id, response, verdict, kept from trajectories order by 1"
    return lambda place: connect(open_run(place)).execute(query).fetchall()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, job: Any, quiet: Any, rows: Any) -> list[tuple[Any, ...]]:
    """The rows of `job()` where nothing happens to it."""
    place = str(tmp_path_factory.mktemp("whole") / "run")
    assert run(job(), Launch(place, local=True), quiet).finished
    found = rows(place)
    assert len(found) == 144
    return found


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(condition: Callable[[], object], *, within_s: float = 60.0, what: str = "condition") -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come about within {within_s} s"
            time.sleep(0.05)

    return wait
