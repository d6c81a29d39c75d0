"""Programs yield the cores to whatever else is on their host."""

from __future__ import annotations

import contextlib
import os

import psutil
import pytest

from berry.verifiers.checker import Checker, CheckerConfig, CheckRequest
from berry.verifiers.specs.union import ProgramTestsSpec

SPEC = ProgramTestsSpec(language="python", trusted=True, tests="\nassert x == 1\n")


@pytest.mark.parametrize(("nice", "more"), [(5, 5), (0, 0)])
async def test_sandboxes_run_at_a_lower_priority_than_this_process(nice: int, more: int) -> None:
    others = {child.pid for child in psutil.Process().children(recursive=True)}  # of other tests' pools
    async with Checker(CheckerConfig(slots=1, nice=nice)) as checker:
        verdict = await checker.check(CheckRequest("p", SPEC, "```python\nx = 1\n```"))
        levels = set()
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # the checked program's own ends about now
                levels |= {child.nice()} if child.pid not in others else set()
    assert verdict.passed, verdict
    assert min(19, os.nice(0) + more) in levels
    assert min(levels) >= min(19, os.nice(0) + more)
