from __future__ import annotations

import json
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
import psutil
import pytest
import yaml


@dataclass
class Berry:
    """The command line in its own process and session."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def config(self, raw: dict[str, Any], name: str = "job") -> str:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(raw))
        return str(path)

    def start(self, *words: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "BERRY_TEST_RUN": str(self.folder), **(env or {})},
        )
        self.started.append(process)
        return process

    def run(self, *words: str, timeout_s: float = 240) -> tuple[int, str]:
        process = self.start(*words)
        out, _ = process.communicate(timeout=timeout_s)
        return process.returncode, out

    def query(self, run: str, sql: str) -> list[tuple[Any, ...]]:
        return duckdb.sql(sql.replace("{}", f"{self.folder / run}/round=0")).fetchall()

    def figures(self, run: str) -> dict[str, Any]:
        """What the last driver of a run measured."""
        return json.loads((self.folder / run / "metrics/run.json").read_text())

    def processes(self) -> list[psutil.Process]:
        """Everything alive that descends from a driver of this test, by the mark in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("BERRY_TEST_RUN") == str(self.folder):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def actor(self, name: str) -> psutil.Process | None:
        """The worker process of a Ray actor class."""
        for process in self.processes():
            try:
                if process.name().startswith(f"ray::{name}") or any(name in w for w in process.cmdline()[:1]):
                    return process
            except psutil.NoSuchProcess:
                continue
        return None


@pytest.fixture
def berry(tmp_path: Path) -> Iterator[Berry]:
    berry = Berry(tmp_path)
    yield berry
    for process in berry.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for process in berry.processes():
        process.kill()


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(condition: Callable[[], object], *, within_s: float = 90.0, what: str = "condition") -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come about within {within_s} s"
            time.sleep(0.1)

    return wait
