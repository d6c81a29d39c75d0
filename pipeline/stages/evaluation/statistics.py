"""Computes intervals, paired tests, fits and crossings of accuracy curves over one set of problems.

    values of problems, a method and a budget ─► bootstrap over problems (Efron 1979) ─► mean and 95% interval
    two methods at one budget ─► paired difference, its interval, p of a sign-flip test (Fisher 1935)
    accuracy at several budgets ─► a + b·log2(compute) by least squares ─► b with interval, where growth ends
    two curves ─► read on a logarithmic axis of compute, problem by problem ─► where they change order

Problems are drawn, not samples: what is asked is how far the figure would move with other problems of the same kind.
One matrix of draws serves all methods and budgets, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """Accuracy gained for each doubling of the compute, its interval, and the budget (index) from which on no further
    gain can be told from none (paired, 95%); None where it still grows at the last."""

    per_doubling: float
    low: float | None
    high: float | None
    saturates_at: int | None


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where two curves change order, in units of their costs; `sure`: the order is beyond doubt on both sides."""

    cost: float
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


@dataclass(frozen=True, slots=True)
class Curve:
    """A method's values, of shape (budgets, problems), in rising order of `costs`: a problem's mean at each budget."""

    problems: tuple[str, ...]
    costs: tuple[float, ...]
    values: np.ndarray

    def at(self, cost: float, problems: Sequence[str]) -> np.ndarray:
        """Values of these problems at a cost between the first and last budget, read on a logarithmic axis."""
        x = np.log2(self.costs)
        where = float(np.clip(np.log2(cost), x[0], x[-1]))
        above = min(int(np.searchsorted(x, where)), len(x) - 1)
        below = max(0, above - 1)
        gap = x[above] - x[below]
        share = 1.0 if gap == 0 else (where - x[below]) / gap
        places = {name: i for i, name in enumerate(self.problems)}
        chosen = [places[name] for name in problems]
        return (1 - share) * self.values[below, chosen] + share * self.values[above, chosen]

    def stretched(self, other: Curve) -> Curve:
        """The same values from the first to the last cost of `other`, for what is the same at any budget."""
        return Curve(self.problems, (other.costs[0], other.costs[-1]), np.repeat(self.values[:1], 2, axis=0))


def common(first: Curve, second: Curve) -> list[str]:
    """The problems of both."""
    return sorted(set(first.problems) & set(second.problems))


def crossings(first: Curve, second: Curve) -> list[Crossing]:
    """Where two curves change order on the problems of both, within the costs at which both are measured; `sure`
    where a paired test says so (p < 0.05) on both sides."""
    both = common(first, second)
    low, high = max(first.costs[0], second.costs[0]), min(first.costs[-1], second.costs[-1])
    grid = sorted({c for c in (*first.costs, *second.costs) if low <= c <= high})
    if not both or len(grid) < 2:
        return []
    values = [(first.at(c, both), second.at(c, both)) for c in grid]
    gaps = [float((b - a).mean()) for a, b in values]
    found = []
    last = 0  # the last place at which the two differ at all: curves may lie on each other before they cross
    for i in range(1, len(grid)):
        if abs(gaps[i]) < 1e-12:
            continue
        if gaps[last] * gaps[i] < 0:
            x = np.log2([grid[last], grid[i]])
            where = x[0] + (x[1] - x[0]) * gaps[last] / (gaps[last] - gaps[i])
            told = [difference(*values[j]).p for j in (last, i)]
            found.append(Crossing(float(2**where), sure=all(p is not None and p < 0.05 for p in told)))
        last = i
    return found
