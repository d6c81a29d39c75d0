"""Occupancy, rates and totals from snapshots."""

from __future__ import annotations

import pytest

from berry.pipeline.cli.progress import facts
from berry.pipeline.engines.base import Counters
from berry.pipeline.runtime.monitoring.progress import Monitor, cache_hit, explain_unverifiable
from berry.pipeline.stages.leases.lease import Gauges, Snapshot


def snapshot(running: int, *, integral: float, busy_s: float, generated: int = 0, waiting: int = 0) -> Snapshot:
    counters = Counters(
        running=running,
        waiting=waiting,
        running_integral=integral,
        busy_s=busy_s,
        generated_tokens=generated,
        settled_s=busy_s,
    )
    return Snapshot("w", Gauges(), counters, 10)


def test_occupancy_is_that_of_the_steady_state_alone() -> None:
    monitor = Monitor(0.0, 100)
    monitor.add(0, [snapshot(2, integral=0, busy_s=0)], all_handed_out=False)  # filling up
    monitor.add(1, [snapshot(10, integral=5, busy_s=1)], all_handed_out=False)  # full: steady from here
    monitor.add(2, [snapshot(9, integral=14, busy_s=2)], all_handed_out=False)
    monitor.add(3, [snapshot(9, integral=23, busy_s=3)], all_handed_out=False)
    monitor.add(4, [snapshot(1, integral=25, busy_s=4)], all_handed_out=True)  # the tail does not count
    assert monitor.occupancy() == pytest.approx(18 / 20)


def test_an_engine_that_was_never_full_has_no_steady_state() -> None:
    monitor = Monitor(0.0, 3)
    for second in range(5):
        monitor.add(second, [snapshot(4, integral=4.0 * second, busy_s=second)], all_handed_out=False)
    assert monitor.occupancy() is None


def test_tokens_of_an_engine_that_was_restarted_still_count() -> None:
    monitor = Monitor(0.0, 3)
    for generated in (0, 500, 900, 100, 300):
        monitor.add(generated, [snapshot(4, integral=1, busy_s=1, generated=generated)], all_handed_out=False)
    assert monitor.counters().generated_tokens == 1200


def test_a_round_counts_its_own_tokens_alone() -> None:
    monitor = Monitor(0.0, 3)
    before = Counters(prompt_tokens=900, cached_tokens=600, generated_tokens=500)
    monitor.begin([Snapshot("w", Gauges(), before, 10, scored_tokens={"prm": 70})], scored={"prm": 1000})
    assert monitor.forward_tokens({"prm": 1000}) == {"engines": 0, "prm": 0}
    now = Counters(prompt_tokens=950, cached_tokens=620, generated_tokens=507)
    monitor.add(1, [Snapshot("w", Gauges(), now, 10, scored_tokens={"prm": 75})], all_handed_out=False)
    assert monitor.counters().generated_tokens == 7
    assert monitor.forward_tokens({"prm": 1003, "orm": 4}) == {"engines": 50 - 20 + 7, "orm": 4, "prm": 5 + 3}
    anew = Counters(prompt_tokens=10, generated_tokens=2)  # the engine was started again
    monitor.add(2, [Snapshot("w", Gauges(), anew, 10, scored_tokens={"prm": 6})], all_handed_out=False)
    assert monitor.counters().generated_tokens == 7 + 2
    assert monitor.forward_tokens({"prm": 1003}) == {"engines": 37 + 12, "prm": 5 + 6 + 3}


def test_sequences_of_an_engine_that_died_are_not_shown_any_more() -> None:
    monitor = Monitor(0.0, 3)
    monitor.add(0, [snapshot(8, integral=1, busy_s=1, generated=900, waiting=5)], all_handed_out=False)
    after = [snapshot(3, integral=0, busy_s=0, generated=10)]
    monitor.add(1, after, all_handed_out=False)
    view = monitor.view(1.0, after, problems=0, trajectories=0, kept=0)
    assert (view.running, view.waiting) == (3, 0)
    assert (monitor.counters().running, monitor.counters().waiting) == (3, 0)
    assert monitor.view(2.0, [], problems=0, trajectories=0, kept=0).running == 0, "nobody answers"


@pytest.mark.parametrize(
    ("verified", "unverifiable", "told"), [(49, 49, False), (100, 19, False), (100, 20, True), (0, 0, False)]
)
def test_checks_that_can_not_be_made_are_told_once_they_are_many(verified: int, unverifiable: int, told: bool) -> None:
    gauges = Gauges(verified=verified, unverifiable=unverifiable)
    text = explain_unverifiable([Snapshot("w", gauges, Counters(), 8)])
    assert (text is not None) == told
    if text is not None:
        assert "20 of 100 responses could not be checked" in text


def test_eta_counts_only_what_this_driver_did() -> None:
    monitor = Monitor(100.0, 30, done_before=10)
    view = monitor.view(160.0, [], problems=20, trajectories=0, kept=0)
    assert view.eta_s == pytest.approx(60.0)
    assert monitor.view(160.0, [], problems=10, trajectories=0, kept=0).eta_s is None


def test_cache_hit_before_the_first_prompt_is_unknown() -> None:
    assert cache_hit(Counters()) is None
    assert cache_hit(Counters(prompt_tokens=10, cached_tokens=4)) == pytest.approx(0.4)


def test_tool_calls_are_shown_once_there_are_any() -> None:
    monitor = Monitor(started_at=0.0, total_problems=10)
    view = monitor.view(1.0, [Snapshot("w", Gauges(), Counters(), 8)], problems=0, trajectories=0, kept=0)
    assert view.call_ms is None
    assert "tool calls" not in dict(facts(view))
    both = [Snapshot(w, Gauges(calling=2, called=5, call_s=0.4), Counters(), 8) for w in "ab"]
    view = monitor.view(2.0, both, problems=0, trajectories=0, kept=0)
    assert (view.calling, view.calls, view.call_ms) == (4, 10, pytest.approx(80))
    assert dict(facts(view))["tool calls"] == "4 waited for now; 10 made, 80 ms each"
