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


def test_crossings_are_read_on_a_logarithmic_axis():
    first = [(100.0, 0.2), (400.0, 0.4), (1600.0, 0.6)]
    second = [(100.0, 0.3), (400.0, 0.4 - 0.1), (1600.0, 0.3)]
    (found,) = statistics.crossings(first, second, [True, True, False])
    assert found.tokens == pytest.approx(200.0)
    assert found.sure
    assert statistics.crossings(first, [(x, y + 0.1) for x, y in first]) == []
    assert statistics.crossings(first, [(5000.0, 0.1), (9000.0, 0.2)]) == []
