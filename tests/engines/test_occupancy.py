"""The time integral of running sequences."""

from __future__ import annotations

import pytest

from berry.pipeline.engines.occupancy import Occupancy


def test_idle_time_counts_for_nothing():
    occupancy = Occupancy()
    occupancy.advance(100.0)
    occupancy.begin(100.0)
    occupancy.report(1, 0, 101.0)
    occupancy.end(103.0)
    occupancy.advance(900.0)
    assert occupancy.busy_s == pytest.approx(3.0)
    assert occupancy.running_integral == pytest.approx(2.0)


def test_a_last_report_does_not_outlive_what_was_asked_for():
    occupancy = Occupancy()
    for _ in range(4):
        occupancy.begin(0.0)
    occupancy.report(4, 0, 0.0)
    for _ in range(3):
        occupancy.end(1.0)
    occupancy.advance(2.0)
    assert occupancy.running_now == 1
    assert occupancy.waiting_now == 0
    assert occupancy.running_integral == pytest.approx(4 + 1)


def test_what_is_asked_for_and_does_not_run_waits():
    occupancy = Occupancy()
    for _ in range(5):
        occupancy.begin(0.0)
    occupancy.report(2, 3, 0.0)
    assert (occupancy.running_now, occupancy.waiting_now) == (2, 3)


def test_a_reading_in_the_middle_of_a_step_leaves_the_step_out():
    occupancy = Occupancy()
    for _ in range(4):
        occupancy.begin(0.0)
    occupancy.step(1, 0, 4, 2.0)  # four were decoded for two seconds, one is left after it
    assert occupancy.settled == (pytest.approx(8.0), 2.0)
    occupancy.advance(5.0)  # three seconds into a step of which nobody knows yet that four are in it
    assert occupancy.settled == (pytest.approx(8.0), 2.0)
    occupancy.step(1, 0, 4, 6.0)
    integral, settled_s = occupancy.settled
    assert (integral - 8.0) / (settled_s - 2.0) == pytest.approx(4.0), "never more than ran"


def test_idle_time_is_settled():
    occupancy = Occupancy()
    occupancy.begin(0.0)
    occupancy.step(0, 0, 1, 1.0)
    occupancy.end(1.0)
    occupancy.advance(9.0)
    assert occupancy.settled == (pytest.approx(1.0), 9.0)


def test_an_engine_without_steps_is_settled_at_once():
    occupancy = Occupancy()
    occupancy.begin(0.0)
    occupancy.report(1, 0, 0.0)
    occupancy.advance(3.0)
    assert occupancy.settled == (pytest.approx(3.0), 3.0)
