from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

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
    launch: Callable[..., Any]
    started: list[Any] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def config(self, **changes: Any) -> Path:
        path = self.folder / "job.yaml"
        path.write_text(yaml.safe_dump(SYNTHETIC | changes))
        return path

    def start(self, *words: str) -> Any:
        process = self.launch(self.folder, *words, env={**os.environ, **self.environment})
        self.started.append(process)
        return process

    def run(self, *words: str, timeout_s: float = 120) -> tuple[int, str]:
        process = self.start(*words)
        out, _ = process.communicate(timeout=timeout_s)
        return process.returncode, out

    def query(self, run: str, sql: str) -> list[tuple[Any, ...]]:
        return duckdb.sql(sql.replace("{}", f"{self.folder / run}/round=0")).fetchall()


@pytest.fixture
def berry(tmp_path: Path, start_berry: Callable[..., Any]) -> Iterator[Berry]:
    berry = Berry(tmp_path, start_berry)
    yield berry
    for process in berry.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(condition: Callable[[], object], *, within_s: float = 60.0, what: str = "condition") -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come about within {within_s} s"
            time.sleep(0.05)

    return wait
