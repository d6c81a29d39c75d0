"""What a tick of the balance has measured."""

from __future__ import annotations

import pytest

from berry.pipeline.engines.base import Counters
from berry.pipeline.runtime.monitoring.wait_times import WaitWindow
from berry.pipeline.stages.leases.lease import Gauges, Snapshot


def snapshot(integral: float, worker: str = "a") -> Snapshot:
    return Snapshot(worker, Gauges(), Counters(running_integral=integral), 10)


def checks(*, running: float, waiting: float, jobs: float, queue_s: float = 0.0) -> dict[str, float]:
    return {
        "pool_slots": 4,
        "pool_running": running,
        "pool_waiting": waiting,
        "pool_jobs": jobs,
        "pool_queue_s": queue_s,
    }


def test_idle_engines_count_as_starved_as_far_as_checks_stand_in_line() -> None:
    tick = WaitWindow()
    for second in range(3):  # 6 of 10 sequences run; 2 sandbox actors
        both = [checks(running=4, waiting=w, jobs=5 * second, queue_s=second) for w in (1, 2)]
        tick.add(second, [snapshot(6.0 * second)], both)
    waits = tick.waits()
    assert waits is not None
    assert waits.engines_idle == pytest.approx(0.4)
    assert (waits.open_slots, waits.busy, waits.most_busy, waits.in_line, waits.checks) == (8, 8.0, 8, 3.0, 20)
    assert waits.starved == pytest.approx(0.3)
    assert waits.line_ms == pytest.approx(200)


def test_an_engine_that_was_restarted_is_left_out_and_nobody_is_blamed() -> None:
    tick = WaitWindow()
    tick.add(0, [snapshot(50), snapshot(7, "b")], [checks(running=1, waiting=0, jobs=1)])
    tick.add(1, [snapshot(2), snapshot(17, "b")], [])
    waits = tick.waits()
    assert waits is not None
    assert (waits.sequences, waits.engines_idle) == (10, 0.0)


def test_without_engines_or_sandboxes_nothing_is_known() -> None:
    tick = WaitWindow()
    assert tick.waits() is None
    tick.add(0, [snapshot(0)], [])
    tick.add(1, [snapshot(1)], [])
    assert tick.waits() is None


def test_tool_calls_in_line_starve_engines_too_and_the_kind_that_takes_more_slots_says_how_many_are_busy() -> None:
    tick = WaitWindow()
    for second in range(3):
        calls = {"call_running": 4.0, "call_waiting": 3.0, "call_jobs": 50.0 * second, "call_queue_s": 5.0 * second}
        tick.add(second, [snapshot(6.0 * second)], [{**checks(running=1, waiting=0, jobs=5 * second), **calls}])
    waits = tick.waits()
    assert waits is not None
    assert (waits.open_slots, waits.busy, waits.in_line, waits.checks) == (4, 4.0, 3.0, 110)
    assert waits.starved == pytest.approx(0.3)
    assert waits.line_ms == pytest.approx(1e3 * 10 / 110)
