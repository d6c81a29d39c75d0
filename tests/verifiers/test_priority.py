"""Programs yield the cores to whatever else is on their host."""

from __future__ import annotations

import contextlib
import os

import psutil
import pytest

from berry.sandboxes.sessions import SessionCall, SessionKeeper
from berry.verifiers.checker import Checker, CheckerConfig, CheckRequest
from berry.verifiers.sandbox_limits import behind_calls, pool_config
from berry.verifiers.specs.union import ProgramTestsSpec

SPEC = ProgramTestsSpec(language="python", trusted=True, tests="\nassert x == 1\n")


def levels_of_others(known: set[int]) -> set[int]:
    """Nice values of the processes below this one, but for those that are known."""
    levels = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a program's own ends about now
            levels |= {child.nice()} if child.pid not in known else set()
    return levels


@pytest.mark.parametrize(("nice", "more"), [(5, 5), (0, 0)])
async def test_sandboxes_run_at_a_lower_priority_than_this_process(nice: int, more: int) -> None:
    others = {child.pid for child in psutil.Process().children(recursive=True)}  # of other tests' pools
    async with Checker(CheckerConfig(slots=1, nice=nice)) as checker:
        verdict = await checker.check(CheckRequest("p", SPEC, "```python\nx = 1\n```"))
        levels = levels_of_others(others)
    assert verdict.passed, verdict
    assert min(19, os.nice(0) + more) in levels
    assert min(levels) >= min(19, os.nice(0) + more)


async def test_checks_yield_to_tool_calls() -> None:
    config = CheckerConfig(slots=1)
    others = {child.pid for child in psutil.Process().children(recursive=True)}
    keeper = SessionKeeper(pool_config(config), slots=1, sessions=1, profile="bare")
    await keeper.start()
    try:
        assert (await keeper.call(SessionCall("t", (), "6 * 7", profile="bare"))).text == "42"
        calling = levels_of_others(others)
        others = {child.pid for child in psutil.Process().children(recursive=True)}
        async with Checker(behind_calls(config)) as checker:
            assert (await checker.check(CheckRequest("p", SPEC, "```python\nx = 1\n```"))).passed
            checking = levels_of_others(others)
    finally:
        await keeper.close()
    assert (min(calling), max(calling)) == (min(19, os.nice(0) + 5), min(19, os.nice(0) + 5))
    assert max(checking) == min(19, os.nice(0) + 10)
