"""Draws the curves of an evaluation: each method at each budget, compared at equal compute.

    MethodValues by method and budget ─► EvalCurves: points (a row of eval.parquet each), paired tests, fits, crossings

Independent chains and searches spend different budgets, so that they are compared where they cost the same: a method's
value at a cost between two of its budgets is read on a logarithmic axis, problem by problem. Nothing is read beyond the
first and last budget of a method.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from berry.pipeline.stages.evaluation import statistics
from berry.pipeline.stages.evaluation.axis import Axis
from berry.pipeline.stages.evaluation.measure import Measurement, MethodValues
from berry.pipeline.stages.evaluation.methods import NO_CHOICE

ALL = "all"
BANDS = (("hard", 0.0, 1 / 3), ("medium", 1 / 3, 2 / 3), ("easy", 2 / 3, 1.0 + 1e-9))
"""Difficulty by the pass rate of the generator itself: name, from, below."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One method at one budget on one benchmark. `budget`: samples a problem, or the search's own budget. `low`,
    `high`: 95% bootstrap interval over problems. `unchecked_low`, `unchecked_high`: the accuracy if what could not be
    checked were wrong, and if it were right. `generated_tokens`, `forward_tokens`, `flop`, `seconds`, `usd`: a
    problem's mean. `subsampled`: from a larger pool of independent chains."""

    benchmark: str
    difficulty: str
    method: str
    budget: int
    problems: int
    accuracy: float
    low: float | None
    high: float | None
    unchecked_low: float
    unchecked_high: float
    generated_tokens: float
    forward_tokens: float
    flop: float | None
    seconds: float | None
    usd: float | None
    subsampled: bool
    run: str = ""

    def on(self, axis: Axis) -> float | None:
        """The mean cost of a problem in one unit."""
        value: float | None = getattr(self, axis.value)
        return value


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Two methods at one cost, in units of the axis, on the same problems: the second less the first."""

    benchmark: str
    cost: float
    first: str
    second: str
    told: statistics.Difference


@dataclass(frozen=True, slots=True)
class Growth:
    """How a method's accuracy grows with compute; `saturates_at`: a budget."""

    benchmark: str
    method: str
    fit: statistics.LogFit
    saturates_at: int | None


@dataclass(frozen=True, slots=True)
class CrossOver:
    """Where two methods change order, in units of the axis."""

    benchmark: str
    first: str
    second: str
    told: statistics.Crossing


@dataclass(frozen=True, slots=True)
class EvalCurves:
    """All that is shown. `axis`: what compute is measured in where methods are compared and drawn. `left_out`: what was
    not drawn, and why, a line each."""

    points: tuple[CurvePoint, ...]
    comparisons: tuple[PairedDifference, ...] = ()
    growth: tuple[Growth, ...] = ()
    crossovers: tuple[CrossOver, ...] = ()
    left_out: tuple[str, ...] = ()
    axis: Axis = Axis.GENERATED_TOKENS


def draw_curves(measured: Measurement, *, axis: Axis = Axis.GENERATED_TOKENS) -> EvalCurves:
    """Points of all methods with their intervals, and what can be said of them at equal cost. Difficulty is told where
    a generator's pass rate is known from independent chains."""
    points: list[CurvePoint] = []
    comparisons: list[PairedDifference] = []
    growth: list[Growth] = []
    crossovers: list[CrossOver] = []
    left_out = list(measured.left_out)
    for benchmark, methods in _by_method(measured.columns).items():
        for columns in methods.values():
            for column in columns:
                points += _points(column, measured.pass_rates)
        curves = {name: _curve(columns, axis) for name, columns in methods.items()}
        unknown = [name for name, curve in curves.items() if curve is None]
        if unknown:
            left_out.append(f"{benchmark}: not compared by {axis.value}, which is not known: {', '.join(unknown)}")
        known = {name: (methods[name], curve) for name, curve in curves.items() if curve is not None}
        growth += _growth(benchmark, known)
        for a, b in combinations(known, 2):
            if not _comparable(known[a][0][0], known[b][0][0]):
                continue
            told = _compared(benchmark, a, b, known)
            if told is not None:
                comparisons.append(told)
            if NO_CHOICE not in (known[a][0][0].chosen_by, known[b][0][0].chosen_by):
                found = statistics.crossings(known[a][1], known[b][1])
                crossovers += [CrossOver(benchmark, a, b, crossing) for crossing in found]
    return EvalCurves(tuple(points), tuple(comparisons), tuple(growth), tuple(crossovers), tuple(left_out), axis)


def _by_method(columns: Sequence[MethodValues]) -> dict[str, dict[str, list[MethodValues]]]:
    found: dict[str, dict[str, list[MethodValues]]] = defaultdict(lambda: defaultdict(list))
    for column in columns:
        found[column.benchmark][column.method].append(column)
    return {benchmark: dict(methods) for benchmark, methods in sorted(found.items())}


def _curve(columns: Sequence[MethodValues], axis: Axis) -> statistics.Curve | None:
    """The problems that all its budgets have, by rising cost; None where a cost is not known or there are none."""
    problems = sorted(set.intersection(*(set(column.values) for column in columns)))
    costs = [column.cost(axis, problems) for column in columns] if problems else [None]
    known = [cost for cost in costs if cost]
    if len(known) < len(costs):
        return None
    order = np.argsort(known, kind="stable")
    values = np.array([[columns[i].values[name] for name in problems] for i in order])
    return statistics.Curve(tuple(problems), tuple(known[i] for i in order), values)


def _comparable(first: MethodValues, second: MethodValues) -> bool:
    """Methods that choose one answer: chains with chains, each with no choice at all, and a search with chains or
    another search that choose by the same score."""
    if first.chosen_by is None or second.chosen_by is None:
        return False
    if first.subsampled and second.subsampled:
        return True
    return first.chosen_by == second.chosen_by or NO_CHOICE in (first.chosen_by, second.chosen_by)


def _compared(
    benchmark: str, a: str, b: str, known: Mapping[str, tuple[list[MethodValues], statistics.Curve]]
) -> PairedDifference | None:
    """At the largest cost that both reach; no choice at all is the same at any cost."""
    first, second = (known[name][1] for name in (a, b))
    plain = [known[name][0][0].chosen_by == NO_CHOICE for name in (a, b)]
    first, second = first.stretched(second) if plain[0] else first, second.stretched(first) if plain[1] else second
    both = statistics.common(first, second)
    low, high = max(first.costs[0], second.costs[0]), min(first.costs[-1], second.costs[-1])
    if not both or low > high * (1 + 1e-9):
        return None
    cost = max((c for c in (*first.costs, *second.costs) if low * (1 - 1e-9) <= c <= high * (1 + 1e-9)), default=high)
    values = [curve.at(cost, both) for curve in (first, second)]
    return PairedDifference(benchmark, cost, a, b, statistics.difference(values[0], values[1]))


def _points(column: MethodValues, rates: Mapping[tuple[str, str], float]) -> list[CurvePoint]:
    """For all problems, and for those of each difficulty that has any."""
    points = [_point(column, ALL, list(column.values))]
    for band, low, high in BANDS:
        chosen = [
            name
            for name in column.values
            if (rate := rates.get((column.benchmark, name))) is not None and low <= rate < high
        ]
        if chosen and len(chosen) < len(column.values):
            points.append(_point(column, band, chosen))
    return points


def _point(column: MethodValues, difficulty: str, problems: Sequence[str]) -> CurvePoint:
    told = statistics.interval(np.array([column.values[name] for name in problems]))
    generated, forward = (column.cost(axis, problems) for axis in (Axis.GENERATED_TOKENS, Axis.FORWARD_TOKENS))
    assert generated is not None, "tokens are counted of every problem"
    assert forward is not None, "tokens are counted of every problem"
    return CurvePoint(
        benchmark=column.benchmark,
        difficulty=difficulty,
        method=column.method,
        budget=column.budget,
        problems=len(problems),
        accuracy=told.mean,
        low=told.low,
        high=told.high,
        unchecked_low=float(np.mean([column.lows[name] for name in problems])),
        unchecked_high=float(np.mean([column.highs[name] for name in problems])),
        generated_tokens=generated,
        forward_tokens=forward,
        flop=column.cost(Axis.FLOP, problems),
        seconds=column.cost(Axis.SECONDS, problems),
        usd=column.cost(Axis.USD, problems),
        subsampled=column.subsampled,
        run=column.run,
    )


def _growth(benchmark: str, known: Mapping[str, tuple[list[MethodValues], statistics.Curve]]) -> list[Growth]:
    """Of what any choice of one answer, or a perfect one, gains with compute: G-Pass@k is no accuracy."""
    found = []
    for name, (columns, curve) in known.items():
        fit = None if name.startswith("G-Pass") else statistics.log_fit(curve.costs, curve.values)
        if fit is not None:
            budgets = sorted(column.budget for column in columns)
            found.append(Growth(benchmark, name, fit, None if fit.saturates_at is None else budgets[fit.saturates_at]))
    return found
