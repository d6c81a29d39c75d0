"""One checker for all tests of the verifiers: a warm pool, asked from ordinary functions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from berry.verifiers.base import Verdict
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.specs.union import Spec

Check = Callable[..., Verdict]


@pytest.fixture(scope="session")
def warm() -> Iterator[tuple[asyncio.AbstractEventLoop, Checker]]:
    """The loop and the checker that lives in it."""
    loop = asyncio.new_event_loop()
    checker = Checker(CheckerConfig(slots=2, cpu_s=2, wall_s=12, symbolic_s=2, weak_verdicts="count"))
    loop.run_until_complete(checker.start())
    yield loop, checker
    loop.run_until_complete(checker.close())
    loop.close()


@pytest.fixture(scope="session")
def check(warm: tuple[asyncio.AbstractEventLoop, Checker]) -> Check:
    """check(spec, response) -> Verdict."""
    loop, checker = warm

    def ask(spec: Spec, response: str, prompt: str = "") -> Verdict:
        return loop.run_until_complete(checker.check(CheckRequest("p", spec, response, prompt)))

    return ask


@pytest.fixture(scope="session")
def check_all(warm: tuple[asyncio.AbstractEventLoop, Checker]) -> Callable[..., list[Verdict]]:
    """check_all([(spec, response), …]) -> verdicts, asked for all at once."""
    loop, checker = warm

    async def gather(pairs: list[tuple[Spec, str]]) -> list[Verdict]:
        requests = [CheckRequest(f"p{i}", spec, response) for i, (spec, response) in enumerate(pairs)]
        return await asyncio.gather(*(checker.check(request) for request in requests))

    return lambda pairs: loop.run_until_complete(gather(list(pairs)))


@pytest.fixture
def data() -> Path:
    """The folder of real data sets; skips where there is none."""
    folder = Path(os.environ.get("BERRY_DATA", ""))
    if not os.environ.get("BERRY_DATA") or not folder.is_dir():
        pytest.skip("BERRY_DATA names no folder with the data sets")
    return folder
