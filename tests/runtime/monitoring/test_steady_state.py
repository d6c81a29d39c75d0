"""The window of the steady state, and what was done in it."""

from __future__ import annotations

import math

import pytest

from berry.pipeline.engines.base import Counters
from berry.pipeline.runtime.monitoring.steady_state import Steady
from berry.pipeline.stages.leases.lease import Gauges, Snapshot
from berry.sandboxes.metrics import Metrics


def snapshot(second: float, *, verifying: int = 10, queued: int = 1, speed: float = 5.0) -> Snapshot:
    """A worker that verifies `speed` trajectories of 20 tokens a second and keeps 10 of its 16 sequences running."""
    verified = int(speed * second)
    counters = Counters(
        generated_tokens=20 * verified, running=10, waiting=0, running_integral=10 * second, busy_s=second
    )
    gauges = Gauges(verified=verified, verifying=verifying, queued=queued)
    return Snapshot("w", gauges, counters, 16, cpu_s=0.1 * second, own_cpu_s=0.04 * second)


def checks(second: float) -> dict[str, float]:
    jobs = 5 * second
    return {
        "pool_slots": 2.0,
        "pool_jobs": jobs,
        "pool_queue_s": 0.5 * jobs,
        "pool_service_s": 0.25 * jobs,
        "pool_service_s2": 0.125 * jobs,
        "pool_cpu_s": 0.05 * jobs,
        "pool_service:-16": jobs,
    }


def test_it_begins_when_the_first_have_been_round_and_ends_when_the_work_runs_out() -> None:
    steady = Steady(0.0)
    for second in range(21):
        draining = second > 18
        steady.add(second, [snapshot(second, queued=not draining)], [checks(second)], all_handed_out=draining)
    figures = steady.figures()
    assert figures is not None
    assert (figures["start_s"], figures["end_s"]) == (4, 18)  # 20 under way at 5 a second
    assert figures["trajectories_per_s"] == pytest.approx(5)
    assert figures["tokens_per_s"] == pytest.approx(100)
    assert figures["engine_idle_share"] == pytest.approx(6 / 16)
    assert figures["sequence_tokens_per_s"] == pytest.approx(10)
    assert (figures["slots"], figures["slots_busy"]) == (2, pytest.approx(0.625))
    assert figures["check_wait_ms"] == pytest.approx(500)
    assert figures["slot_ms"] == figures["check_mean_ms"] == pytest.approx(250)
    assert figures["check_p99_ms"] == pytest.approx(250)
    assert figures["check_scv"] == pytest.approx(1)
    assert figures["cpu_ms"] == pytest.approx(20)
    assert figures["worker_cpu_ms"] == pytest.approx(8)


def test_each_kind_of_check_has_its_own_time_of_a_slot() -> None:
    """Half of the trajectories are of each kind; of `math` one in two is decided on the spot, the others hold 4 ms."""
    steady = Steady(0.0)
    for second in range(21):
        seen = snapshot(second, queued=second <= 18)
        seen.gauges.kinds.update(math=10 * second // 4, code=10 * second // 4)
        each = 10 * second // 4
        took = {"kind:math:checks": each / 2, "kind:math:held_s": 0.004 * each / 2, "kind:math:cpu_s": 0.001 * each}
        took |= {"kind:math:held_s2": 0.004**2 * each / 2, "kind:code:checks": each, "kind:code:held_s": 0.1 * each}
        took |= {"kind:code:held_s2": 0.1**2 * each, "kind:code:cpu_s": 0.09 * each}
        steady.add(second, [seen], [{**checks(second), **took}], all_handed_out=second > 18)
    kinds = (steady.figures() or {})["check_kinds"]
    assert kinds["math"]["trajectories"] == kinds["code"]["trajectories"] == 35
    assert kinds["math"] == pytest.approx({"trajectories": 35, "slot_ms": 2, "scv": 1, "slot_cpu_ms": 1})
    assert kinds["code"] == pytest.approx({"trajectories": 35, "slot_ms": 100, "scv": 0, "slot_cpu_ms": 90})


def test_a_run_too_short_for_one_turn_has_none() -> None:
    steady = Steady(0.0)
    for second in range(4):
        steady.add(second, [snapshot(second)], [checks(second)], all_handed_out=False)
    assert steady.figures() is None
    assert steady.lasted_s == 0


def test_it_begins_again_when_a_worker_and_its_counts_are_lost() -> None:
    steady = Steady(0.0)
    for second in range(10):
        steady.add(second, [snapshot(second)], [checks(second)], all_handed_out=False)
    assert steady.lasted_s == 5
    for second in range(10, 30):
        steady.add(second, [snapshot(second - 10)], [checks(second)], all_handed_out=False)
    figures = steady.figures()
    assert figures is not None
    assert figures["start_s"] == 14


def test_a_run_whose_checks_take_no_sandbox_still_has_its_speed() -> None:
    steady = Steady(0.0)
    for second in range(10):
        steady.add(second, [snapshot(second)], [{"pool_slots": 2.0, "pool_jobs": 0.0}], all_handed_out=False)
    figures = steady.figures()
    assert figures is not None
    assert figures["trajectories_per_s"] == pytest.approx(5)
    assert figures["check_mean_ms"] is None


def test_a_pool_books_service_times_in_buckets_of_a_few_percent() -> None:
    metrics = Metrics()
    for service_s in (0.001, 0.1, 0.1, 3.0):
        metrics.served(0.5, service_s)
    found = metrics.snapshot(waiting=0, slots=1)
    assert (found["jobs"], found["queue_s"]) == (4, 2.0)
    assert found["service_s2"] == pytest.approx(0.000001 + 0.02 + 9)
    for bucket, service_s in zip(sorted(found["service_counts"]), (0.001, 0.1, 3.0), strict=True):
        assert abs(math.log(2 ** (bucket / 8) / service_s)) < 0.05


def test_tool_calls_have_figures_of_their_own() -> None:
    def calls(second: float) -> dict[str, float]:
        jobs = 15 * second
        return {
            "call_slots": 4.0,
            "call_jobs": jobs,
            "call_queue_s": 0.01 * jobs,
            "call_service_s": 0.125 * jobs,
            "call_replay_s": 0.005 * jobs,
            "call_service:-24": jobs,
        }

    steady = Steady(0.0)
    for second in range(11):
        steady.add(second, [snapshot(second)], [{**checks(second), **calls(second)}], all_handed_out=False)
    figures = steady.figures()
    assert figures is not None
    found = {name: figures[name] for name in figures if name.startswith("call")}
    assert found == pytest.approx(
        {
            "calls": 3,
            "calls_per_s": 15,
            "call_slots": 4,
            "call_slots_busy": 15 * 0.125 / 4,
            "call_wait_ms": 10,
            "call_mean_ms": 125,
            "call_p99_ms": 125,
            "call_rebuild_ms": 5,
        }
    )
