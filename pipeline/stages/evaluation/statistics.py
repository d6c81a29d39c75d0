"""Computes intervals, paired tests, fits and crossings of accuracy curves over one set of problems.

    values of problems, a method and a budget ─► bootstrap over problems (Efron 1979) ─► mean and 95% interval
    two methods at one budget ─► paired difference, its interval, p of a sign-flip test (Fisher 1935)
    accuracy at several budgets ─► a + b·log2(tokens) by least squares ─► b with interval, where growth ends

Problems are drawn, not samples: what is asked is how far the figure would move with other problems of the same kind.
One matrix of draws serves all methods and budgets, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

RESAMPLES = 2000
FLIPS = 4000
CONFIDENCE = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over problems and its 95% interval; `low` and `high` equal None of fewer than two problems."""

    mean: float
    low: float | None
    high: float | None
    problems: int


@dataclass(frozen=True, slots=True)
class Difference:
    """`mean` of the second less the first on the problems both have; `p` two-sided."""

    mean: float
    low: float | None
    high: float | None
    p: float | None
    problems: int


@dataclass(frozen=True, slots=True)
class LogFit:
    """Accuracy gained for each doubling of the tokens, its interval, and the budget (index) from which on no further
    gain can be told from none (paired, 95%); None where it still grows at the last."""

    per_doubling: float
    low: float | None
    high: float | None
    saturates_at: int | None


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where the second curve passes the first, in tokens; `sure`: the order differs beyond doubt on both sides."""

    tokens: float
    sure: bool


def draws(problems: int, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """How often each problem is drawn in each resample, over the number of problems: shape (resamples, problems)."""
    chance = np.random.default_rng(seed)
    counts = chance.multinomial(problems, np.full(problems, 1 / problems), size=resamples)
    return counts / problems


def interval(values: np.ndarray, drawn: np.ndarray | None = None) -> Interval:
    """Mean and interval of one value a problem: `values` of shape (problems,)."""
    if len(values) < 2:
        return Interval(float(values.mean()), None, None, len(values))
    drawn = draws(len(values)) if drawn is None else drawn
    low, high = np.percentile(drawn @ values, CONFIDENCE)
    return Interval(float(values.mean()), float(low), float(high), len(values))


def difference(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Difference:
    """Mean difference, with interval and p-value, of two methods on the same problems: one value a problem each."""
    gap = second - first
    if len(gap) < 2:
        return Difference(float(gap.mean()), None, None, None, len(gap))
    told = interval(gap)
    if not np.any(gap):
        return Difference(0.0, told.low, told.high, 1.0, len(gap))
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(FLIPS, len(gap)))
    flipped = np.abs(signs @ gap) / len(gap)
    p = (1 + int(np.sum(flipped >= abs(told.mean) - 1e-12))) / (FLIPS + 1)
    return Difference(told.mean, told.low, told.high, p, len(gap))


def log_fit(tokens: Sequence[float], values: np.ndarray) -> LogFit | None:
    """`values` of shape (budgets, problems), budgets in rising order of `tokens`; None of fewer than three budgets."""
    if len(tokens) < 3 or values.shape[1] < 2:
        return None
    x = np.log2(np.asarray(tokens))
    x = x - x.mean()
    slopes = x / (x @ x)
    drawn = draws(values.shape[1])
    low, high = np.percentile(drawn @ (slopes @ values), CONFIDENCE)
    saturates = None
    for i in range(len(tokens) - 1):
        gain = interval(values[-1] - values[i], drawn)
        if gain.low is None or gain.low <= 0:
            saturates = i
            break
    return LogFit(float(slopes @ values.mean(axis=1)), float(low), float(high), saturates)


def crossings(
    first: Sequence[tuple[float, float]], second: Sequence[tuple[float, float]], sure: Sequence[bool] = ()
) -> list[Crossing]:
    """Where two curves of (tokens, accuracy) change order, both read on a logarithmic axis where both are measured.
    `sure`: for each point of `first`, whether the order there is beyond doubt."""
    x1, y1 = _on_log_axis(first)
    x2, y2 = _on_log_axis(second)
    if len(x1) < 2 or len(x2) < 2:
        return []
    grid = [x for x in x1 if x2[0] <= x <= x2[-1]]
    gaps = [float(np.interp(x, x2, y2) - np.interp(x, x1, y1)) for x in grid]
    told = dict(zip(x1, sure, strict=False))
    found = []
    for (a, before), (b, after) in pairwise(zip(grid, gaps, strict=True)):
        if before * after < 0:
            where = a + (b - a) * before / (before - after)
            found.append(Crossing(float(2**where), bool(told.get(a)) and bool(told.get(b))))
    return found


def _on_log_axis(curve: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    ordered = sorted(curve)
    return np.log2([x for x, _ in ordered]), np.array([y for _, y in ordered])
