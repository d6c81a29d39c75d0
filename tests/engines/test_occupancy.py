"""Time integrals of running sequences."""

from __future__ import annotations

import pytest

from pipeline.engines.occupancy import Occupancy


def test_time_without_work_counts_for_nothing() -> None:
    occupancy = Occupancy()
    occupancy.advance(100.0)
    occupancy.begin(100.0)
    occupancy.report(1, 0, 100.0)
    occupancy.end(103.0)
    occupancy.advance(200.0)
    assert occupancy.busy_s == pytest.approx(3.0)
    assert occupancy.running_integral == pytest.approx(3.0)


def test_a_step_is_booked_under_the_sequences_that_were_in_it() -> None:
    occupancy = Occupancy()
    occupancy.advance(0.0)
    for _ in range(8):
        occupancy.begin(0.0)
    occupancy.step(8, 0, 8, 1.0)
    occupancy.end(1.5)  # some end in the middle of a report interval
    occupancy.step(4, 0, 8, 2.0)  # four of eight ended in this step
    occupancy.step(4, 4, 8, 3.0)  # and were replaced before the next
    assert occupancy.running_integral == pytest.approx(24.0)
    assert occupancy.busy_s == pytest.approx(3.0)
