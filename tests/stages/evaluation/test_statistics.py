"""Intervals cover, tests hold their level, fits and crossings find what was put in."""

from __future__ import annotations

import numpy as np
import pytest

from berry.pipeline.stages.evaluation import statistics


def test_intervals_cover_the_truth():
    chance = np.random.default_rng(5)
    covered = 0
    for trial in range(300):
        rates = chance.beta(2, 3, size=60)
        told = statistics.interval(rates, statistics.draws(60, seed=trial, resamples=500))
        assert told.low is not None
        assert told.high is not None
        covered += told.low <= 0.4 <= told.high
    assert 0.91 <= covered / 300 <= 0.985


def test_of_one_problem_there_is_no_interval():
    told = statistics.interval(np.array([0.5]))
    assert (told.mean, told.low, told.high, told.problems) == (0.5, None, None, 1)
    assert statistics.difference(np.array([0.5]), np.array([1.0])).p is None


@pytest.mark.slow
def test_paired_tests_hold_their_level_and_have_power():
    chance = np.random.default_rng(6)
    base = chance.random((200, 40))
    noise = chance.normal(0, 0.1, (200, 40))
    alike = [statistics.difference(a, a + e).p for a, e in zip(base, noise, strict=True)]
    assert 0.01 <= np.mean([p < 0.05 for p in alike if p is not None]) <= 0.1
    better = [statistics.difference(a, a + e + 0.1).p for a, e in zip(base[:50], noise[:50], strict=True)]
    assert np.mean([p < 0.05 for p in better if p is not None]) > 0.95
    same = statistics.difference(base[0], base[0])
    assert (same.mean, same.p) == (0.0, 1.0)


def test_growth_a_doubling_and_where_it_ends():
    chance = np.random.default_rng(7)
    tokens = [100 * 2**i for i in range(7)]
    level = chance.normal(0, 0.05, 80)
    grows = np.array([0.2 + 0.05 * i + level for i in range(7)])
    fit = statistics.log_fit(tokens, grows)
    assert fit is not None
    assert fit.per_doubling == pytest.approx(0.05)
    assert fit.saturates_at is None
    flat = np.array([0.2 + 0.05 * min(i, 3) + chance.normal(0, 0.02, 80) for i in range(7)])
    ends = statistics.log_fit(tokens, flat)
    assert ends is not None
    assert ends.saturates_at in (3, 4)
    assert statistics.log_fit(tokens[:2], grows[:2]) is None


def curve(costs: list[float], rates: list[float], problems: int = 20) -> statistics.Curve:
    """Every problem has the same value at a cost."""
    names = tuple(f"p{i}" for i in range(problems))
    return statistics.Curve(names, tuple(costs), np.repeat(np.array(rates)[:, None], problems, axis=1))


def test_crossings_are_read_on_a_logarithmic_axis():
    first = curve([100.0, 400.0, 1600.0], [0.2, 0.4, 0.6])
    second = curve([100.0, 400.0, 1600.0], [0.3, 0.3, 0.3])
    (found,) = statistics.crossings(first, second)
    assert found.cost == pytest.approx(200.0)
    assert found.sure
    assert statistics.crossings(first, curve([100.0, 400.0, 1600.0], [0.3, 0.5, 0.7])) == []
    assert statistics.crossings(first, curve([5000.0, 9000.0], [0.1, 0.2])) == []


def test_curves_at_other_budgets_cross_where_both_are_measured():
    first = curve([100.0, 1600.0], [0.2, 0.6])  # 0.1 a doubling
    second = curve([200.0, 800.0], [0.4, 0.4])
    (found,) = statistics.crossings(first, second)
    assert found.cost == pytest.approx(400.0)
    touching = curve([100.0, 400.0, 1600.0], [0.2, 0.5, 0.5])  # begins at the same value, as best-of-1 does
    (found,) = statistics.crossings(first, touching)
    assert 400.0 < found.cost < 1600.0


def test_a_crossing_within_noise_is_not_sure():
    chance = np.random.default_rng(8)
    noise = chance.normal(0, 0.5, (2, 20))
    names = tuple(f"p{i}" for i in range(20))
    rising = np.array([[-0.01], [0.01]]) + (noise - noise.mean(axis=1, keepdims=True))
    flat = statistics.Curve(names, (100.0, 400.0), np.zeros((2, 20)))
    (found,) = statistics.crossings(flat, statistics.Curve(names, (100.0, 400.0), rising))
    assert not found.sure
    assert found.cost == pytest.approx(200.0)


def test_a_curve_between_its_budgets_is_a_mean_on_the_logarithmic_axis():
    read = curve([100.0, 400.0], [0.2, 0.4]).at(200.0, ["p3", "p1"])
    assert read == pytest.approx([0.3, 0.3])
    assert curve([100.0], [0.2]).at(100.0, ["p0"]) == pytest.approx([0.2])
