"""An engine that owes something and does nothing is given up; one that waits, or works, is not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from berry.pipeline.engines.base import Counters
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.errors import EngineError
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.runtime.monitoring.stalls import (
    SilenceTimer,
    activity_of_checker,
    activity_of_rewards,
    activity_of_worker,
    any_works,
    watch,
)
from berry.pipeline.runtime.scripted import ScriptedWorker
from berry.pipeline.stages.leases.lease import Gauges, Snapshot
from berry.sandboxes.pool import SandboxPool


def seen(*, tokens: int = 0, running: int = 0, searching: int = 0, verifying: int = 0) -> Snapshot:
    counters = Counters(0, 0, tokens, running, 0, 0.0, 0.0, 0.0)
    return Snapshot("a", Gauges(searching=searching, verifying=verifying), counters, 8)


def silence(*snapshots: Snapshot | None) -> float:
    """After one snapshot every 10 s."""
    progress, silent_s = SilenceTimer(0.0), 0.0
    for number, snapshot in enumerate(snapshots):
        activity = None if snapshot is None else activity_of_worker(snapshot)
        silent_s = progress.silent_s(activity, 10.0 * number)
    return silent_s


@pytest.mark.parametrize(
    ("snapshots", "silent_s"),
    [
        ([seen(tokens=n, running=3) for n in range(4)], 0),
        ([seen(tokens=5, running=3)] * 4, 30),
        ([seen(tokens=5, running=3)] * 3 + [seen(tokens=6, running=3)], 0),
        ([seen()] * 4, 0),
        ([seen(searching=2, verifying=2)] * 4, 0),
        ([seen(searching=2)] * 4, 30),
        ([seen(searching=2), None, None, None], 30),
        ([None] * 4, 30),
    ],
    ids=[
        "works",
        "hangs",
        "hung",
        "idle",
        "waits for verdicts",
        "lost a search",
        "stopped answering",
        "never answered",
    ],
)
def test_silence_is_counted_only_where_something_is_owed(snapshots: list[Snapshot | None], silent_s: float) -> None:
    assert silence(*snapshots) == silent_s


def test_verdicts_that_no_checker_works_on_are_owed_by_the_worker() -> None:
    """As where it can open no more connections to the sandboxes: what it waits for was never asked."""
    waits = seen(searching=2, verifying=2)
    assert not activity_of_worker(waits, checkers_work=True).owes
    assert activity_of_worker(waits, checkers_work=False).owes
    idle, busy = {"in_service": 0.0, "pool_running": 0.0}, {"in_service": 3.0}
    assert not any_works([idle, {"outcome_pass": 5.0}])
    assert any_works([idle, busy])
    assert any_works([{"outcome_pass": 5.0}]), "those that have ended are no checkers that could work"
    assert any_works([])


async def test_the_stuck_one_is_aborted_once_a_deadline_and_said() -> None:
    stuck, idle = ScriptedWorker("stuck", shown=seen(running=2)), ScriptedWorker("idle", shown=seen())
    down = ScriptedWorker("waits for a node", is_up=False)
    notes: list[str] = []
    with suppress(TimeoutError):
        await asyncio.wait_for(watch([stuck, idle, down], 0.2, notes.append), 0.5)
    assert len(stuck.aborted) == len(notes) >= 1
    assert "stuck made no progress" in notes[0]
    assert idle.aborted == down.aborted == []


@pytest.mark.parametrize(
    ("figures", "silent_s"),
    [
        ([{"in_service": 2, "pool_jobs": n} for n in range(4)], 0),
        ([{"in_service": 2, "pool_jobs": 5}] * 4, 30),
        ([{"in_service": 2, "pool_jobs": 5}] * 3 + [{"in_service": 2, "pool_jobs": 5, "outcome_pass": 1}], 0),
        ([{"in_service": 0, "pool_jobs": 5}] * 4, 0),
    ],
    ids=["works", "hangs", "a check without a sandbox ends", "idle"],
)
def test_a_checker_is_silent_only_where_checks_wait(figures: list[dict[str, float]], silent_s: float) -> None:
    timer, found = SilenceTimer(0.0), 0.0
    for number, one in enumerate(figures):
        found = timer.silent_s(activity_of_checker(one), 10.0 * number)
    assert found == silent_s


@pytest.mark.parametrize(("waiting", "silent_s"), [(3, 20), (0, 0)], ids=["hangs", "idle"])
def test_reward_models_are_silent_only_where_requests_wait(waiting: int, silent_s: float) -> None:
    timer, found = SilenceTimer(0.0), 0.0
    for number in range(3):
        found = timer.silent_s(activity_of_rewards({"prm": {"batches": 7, "waiting": waiting}}), 10.0 * number)
    assert found == silent_s


@pytest.mark.slow
def test_sandboxes_that_hang_in_this_process_end_the_run_and_the_next_goes_on(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, job: Any, quiet: Any
) -> None:
    async def hangs(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(SandboxPool, "_on_slot", hangs)
    problems = [{"type": "synthetic", "count": 6, "seed": 3, "check": {"cpu_ms": 0.5, "wait_ms": 1}}]
    config = job(problems=problems, storage={"stall_s": 1.0})
    with pytest.raises(EngineError, match=r"the sandboxes finished no check for .* run again to resume"):
        run(config, Launch(str(tmp_path / "run"), local=True), quiet)
    monkeypatch.undo()
    outcome = run(config, Launch(str(tmp_path / "run"), local=True), quiet)
    assert outcome.finished
    assert outcome.totals.problems == 6


@pytest.mark.slow
def test_an_engine_that_hangs_in_this_process_ends_the_run_and_the_next_goes_on(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, job: Any, quiet: Any
) -> None:
    """With --local nothing can be started again but the run itself."""
    generate, served = Synthetic.generate, 0

    async def hangs(self: Synthetic, request: Any) -> Any:
        nonlocal served
        served += 1
        if served > 60:
            await asyncio.Event().wait()
        async for sample in generate(self, request):
            yield sample

    monkeypatch.setattr(Synthetic, "generate", hangs)
    config = job(storage={"stall_s": 1.0})
    with pytest.raises(EngineError, match=r"made no progress .* run again to resume"):
        run(config, Launch(str(tmp_path / "run"), local=True), quiet)
    monkeypatch.undo()
    outcome = run(config, Launch(str(tmp_path / "run"), local=True), quiet)
    assert outcome.finished
    assert (outcome.totals.problems, outcome.totals.trajectories) == (24, 144)
