"""One pool a privilege level, shared by the tests of this folder, behind a plain blocking interface."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from berry.sandboxes.base import MIB, Call, Job, JobOutcome, JobResult, JudgeResult, Limits
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.pool import SandboxPool

T = TypeVar("T")
LOWER = Path(__file__).parent / "lower.py"
LEVELS = (
    pytest.param("root", marks=pytest.mark.slow),
    pytest.param("user", marks=pytest.mark.slow),
    "pod",
)
"""Quick runs take the least privileged; `slow` adds the others."""
TIGHT = Limits(cpu_s=1.0, wall_s=2.0, memory_bytes=256 * MIB, output_bytes=256 * 1024, disk_bytes=4 * MIB)


def launcher_of(level: str) -> tuple[str, ...]:
    """The command that brings a template to a level; skips where this user can't get there."""
    if level == "root":
        if os.geteuid() != 0:
            pytest.skip("root: the tests run as an ordinary user")
        return ()
    if level == "user" and os.geteuid() != 0:
        return ()
    return (sys.executable, "-I", str(LOWER), level)


class Blocking:
    """A pool on a loop in a thread of its own."""

    def __init__(self, config: PoolConfig) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.pool = SandboxPool(config)
        self.wait(self.pool.start())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def run(self, job: Job) -> JobResult:
        return self.wait(self.pool.run(job))

    def call(self, source: str, *args: Any, name: str = "f", limits: Limits = TIGHT, **more: Any) -> JobResult:
        """One call of `name` in `source`."""
        return self.run(Job(source, entry_point=name, calls=(Call(args),), limits=limits, **more))

    def program(self, source: str, stdin: str | bytes = "", limits: Limits = TIGHT, **more: Any) -> JobResult:
        """One run of a program."""
        return self.run(Job(source, stdin=(stdin,), limits=limits, **more))

    def judge(
        self,
        source: str,
        tests: str,
        name: str = "f",
        limits: Limits = TIGHT,
        judge_limits: Limits | None = None,
        **more: Any,
    ) -> JudgeResult:
        """A candidate against tests; `judge_limits` are of the tests alone."""
        job = Job(source, entry_point=name, limits=limits)
        return self.wait(self.pool.judge(job, tests, limits=judge_limits, **more))

    def close(self) -> None:
        self.wait(self.pool.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="session", params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def shared(level: str) -> Iterator[Blocking]:
    blocking = Blocking(PoolConfig(slots=2, launcher=launcher_of(level), calibration=1.0))
    yield blocking
    blocking.close()


@pytest.fixture
def box(shared: Blocking) -> Iterator[Blocking]:
    """The level's pool; after each test it must be healthy, without a fault and without idle leftovers."""
    faults = shared.pool.metrics()["slots_failed"]
    yield shared
    after = shared.call("def f(x):\n    return x + 1", 1)
    assert after.outcome is JobOutcome.OK
    assert after.cases[0].value == 2
    assert shared.pool.metrics()["slots_failed"] == faults


@pytest.fixture(scope="session")
def make_box() -> Iterator[Callable[..., Blocking]]:
    """Pools with a configuration of their own, closed at the end."""
    made: list[Blocking] = []

    def make(**config: Any) -> Blocking:
        made.append(Blocking(PoolConfig(**{"slots": 1, "calibration": 1.0, **config})))
        return made[-1]

    yield make
    for blocking in made:
        blocking.close()


@pytest.fixture
def lower() -> Path:
    """The launcher that takes privileges away."""
    return LOWER
