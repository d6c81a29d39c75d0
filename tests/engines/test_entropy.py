"""Entropies from top log-probabilities: exact where all is known, a lower bound with a known gap elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.engines.entropy import estimate

NONE = np.array([-np.inf])


def exact(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


@given(st.lists(st.floats(0.001, 1.0), min_size=2, max_size=30), st.integers(1, 10))
def test_the_estimate_is_below_the_truth_by_at_most_the_rest_s_entropy(weights: list[float], k: int):
    p = np.sort(np.array(weights) / sum(weights))[::-1]
    known = p[:k]
    estimated = float(estimate(NONE, np.log(known)[None, :])[0])
    rest = p[k:]
    gap = rest.sum() * np.log(len(rest)) if len(rest) else 0.0
    assert exact(p) - gap - 1e-9 <= estimated <= exact(p) + 1e-9


def test_it_is_exact_when_everything_was_reported():
    p = np.array([0.5, 0.25, 0.125, 0.125])
    assert estimate(NONE, np.log(p)[None, :]) == pytest.approx([exact(p)])


def test_a_chosen_token_outside_the_top_counts_as_known():
    top, chosen, rest = [0.5, 0.3], 0.05, 0.15
    estimated = estimate(np.log([chosen]), np.log([top]))
    assert estimated == pytest.approx([exact(np.array([*top, chosen, rest]))])


@pytest.mark.parametrize("top", [[[0.0, -np.inf]], [[1e-7, -20.0]]])
def test_a_certain_token_has_no_entropy_and_no_nan(top: list[list[float]]):
    assert estimate(NONE, np.array(top)) == pytest.approx([0.0], abs=1e-5)
