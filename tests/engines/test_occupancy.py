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
