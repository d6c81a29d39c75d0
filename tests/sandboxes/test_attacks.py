"""The catalogue of attacks is stopped as a whole, and an attack that is not stopped is reported."""

from __future__ import annotations

import asyncio
import time

import pytest
from typer.testing import CliRunner

from berry.pipeline.cli.sandbox import app
from berry.sandboxes.attacks import run
from berry.sandboxes.base import Job
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.pool import SandboxPool
from tests.sandboxes.conftest import launcher_of


async def _results(config: PoolConfig) -> list[run.AttackResult]:
    return [result async for result in run.attack_host(config)]


@pytest.mark.slow
async def test_every_attack_is_stopped_with_an_honest_job_after_each(level):
    if level != "pod":
        pytest.skip("the tests of each kind of attack try the same ones at every level")
    config = PoolConfig(slots=1, calibration=1.0, recycle_after=run.RECYCLE_AFTER, launcher=launcher_of(level))
    results = await _results(config)
    assert len(results) > 200
    assert [r for r in results if not r.stopped] == []


async def _steal(target: SandboxPool) -> str:
    return run._got(await target.run(Job("print('DONE')")))


async def _kill_the_slot(target: SandboxPool) -> str:
    for handle in target._slots._handles.values():
        handle.close("killed")
    return ""


async def _stall(target: SandboxPool) -> str:
    time.sleep(run.MAX_STALL_S + 0.2)
    return ""


async def _nothing(target: SandboxPool) -> str:
    await asyncio.sleep(0)
    return ""


@pytest.fixture
def small(monkeypatch):
    attempts = {"steals": _steal, "kills": _kill_the_slot, "stalls": _stall, "nothing": _nothing}
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(run, "catalogue", lambda: {"sample": attempts})


@pytest.mark.slow
async def test_what_gets_through_is_reported(small):
    results = {r.name: r for r in await _results(PoolConfig(slots=1, calibration=1.0))}
    assert {name for name, r in results.items() if r.stopped} == {"nothing"}
    assert results["steals"].detail == "it was done"
    assert results["kills"].detail == "a slot of the pool died"
    assert "stood still" in results["stalls"].detail


@pytest.mark.slow
def test_the_command_prints_a_table_and_fails_where_an_attack_gets_through(small):
    result = CliRunner(env={"COLUMNS": "160"}).invoke(app, ["attack"])
    assert result.exit_code == 1, result.output
    assert "steals: it was done" in result.output
    assert "1 of 4 attacks were stopped" in result.output
    assert "docs/sandbox-security.md" in result.output
