"""Draws the curves of one evaluation: each method at each budget, with interval, band and cost.

ProblemAnswers of a benchmark ─► Evaluation: points (a row of eval.parquet each), comparisons, fits, crossings
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

import numpy as np

from berry.pipeline.stages.evaluation import statistics
from berry.pipeline.stages.evaluation.chains import SCORES, ProblemAnswers
from berry.pipeline.stages.evaluation.compute import Cost, ForwardCost, Price, cost_of
from berry.pipeline.stages.evaluation.methods import (
    ORDER,
    PASS_AT_1,
    Method,
    best_of_n,
    pass_at_k,
    unchecked_band,
    weighted_votes,
)

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


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Two methods at one budget on the same problems: the second less the first."""

    benchmark: str
    budget: int
    first: str
    second: str
    told: statistics.Difference


@dataclass(frozen=True, slots=True)
class Growth:
    """How a method's accuracy grows with tokens; `saturates_at` in samples."""

    benchmark: str
    method: str
    fit: statistics.LogFit
    saturates_at: int | None


@dataclass(frozen=True, slots=True)
class CrossOver:
    """From `tokens` generated tokens a problem on, the order of two methods is the other one."""

    benchmark: str
    first: str
    second: str
    told: statistics.Crossing


@dataclass(frozen=True, slots=True)
class EvalCurves:
    """All that is shown. `left_out`: what was not drawn, and why, a line each."""

    points: tuple[CurvePoint, ...]
    comparisons: tuple[PairedDifference, ...] = ()
    growth: tuple[Growth, ...] = ()
    crossovers: tuple[CrossOver, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(slots=True)
class _Column:
    """A method's values at one budget, by problem."""

    values: dict[str, float] = field(default_factory=dict)
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)

    def add(self, problem: ProblemAnswers, value: Callable[[ProblemAnswers], float | None], cost: Cost) -> None:
        """Adds what a method says of a problem, and where that would lie if what could not be checked were wrong, or
        right; nothing where it says nothing."""
        told, band = value(problem), unchecked_band(value, problem)
        if told is None or band is None:
            return
        self.values[problem.problem_id] = told
        self.lows.append(min(band[0], told))
        self.highs.append(max(band[1], told))
        self.costs.append(cost)


def evaluate_chains(
    problems: Iterable[ProblemAnswers],
    budgets: Sequence[int],
    models: Mapping[str, ForwardCost],
    *,
    methods: Sequence[Method] = ORDER,
    price: Price | None = None,
    run: str = "",
) -> EvalCurves:
    """Curves over `budgets` samples a problem, subsampled from independent chains. A budget is drawn where every
    problem of the benchmark has as many checked chains, so that all its points are of the same problems."""
    points: list[CurvePoint] = []
    left_out: list[str] = []
    comparisons: list[PairedDifference] = []
    growth: list[Growth] = []
    crossovers: list[CrossOver] = []
    for benchmark, pool in sorted(_by_benchmark(problems).items()):
        usable, notes = _usable(benchmark, pool, budgets)
        left_out += notes
        applied = [m for m in methods if all(m.applies(p) for p in pool)]
        left_out += _without_scores(benchmark, pool, [m for m in methods if m not in applied])
        columns = {
            method.name: {
                n: _column(method, pool, n, models, price) for n in usable[: 1 if method is PASS_AT_1 else None]
            }
            for method in applied
        }
        for name, by_budget in columns.items():
            for n, column in by_budget.items():
                points += _points(benchmark, name, n, column, pool, run)
        comparisons += _comparisons(benchmark, columns, usable)
        growth += _growth(benchmark, columns, usable)
        crossovers += _crossovers(benchmark, columns, usable)
    return EvalCurves(tuple(points), tuple(comparisons), tuple(growth), tuple(crossovers), tuple(left_out))


def evaluate_search(
    problems: Iterable[ProblemAnswers],
    name: str,
    budget: int,
    models: Mapping[str, ForwardCost],
    *,
    price: Price | None = None,
    run: str = "",
) -> EvalCurves:
    """Points of a search at its own budget: each way to choose among its leaves. Nothing is subsampled, since leaves
    that share prefixes are no independent samples."""
    points: list[CurvePoint] = []
    left_out: list[str] = []
    for benchmark, pool in sorted(_by_benchmark(problems).items()):
        answered = [p for p in pool if p.answers]
        if len(answered) < len(pool):
            left_out.append(f"{benchmark}: {name}: {len(pool) - len(answered)} problems without a finished answer")
        choices: list[tuple[str, Method | None]] = [(f"{name}, majority", None)]
        choices.append((f"{name}, any", Method("pass@k", pass_at_k)))
        for score in SCORES:
            method = Method(score, best_of_n(score), score)
            if answered and all(method.applies(p) for p in answered):
                choices.append((f"{name}, {score}", method))
        for label, method in choices:
            column = _Column()
            for problem in answered:
                cost = cost_of(problem, None, method.reads if method else None, models, price)
                column.add(problem, partial(_of_search, method), cost)
            unknown = len(answered) - len(column.values)
            if unknown:
                left_out.append(f"{benchmark}: {label}: {unknown} problems of which no answer could be checked")
            if column.values:
                points += [_point(benchmark, ALL, label, budget, column, None, run, subsampled=False)]
    return EvalCurves(tuple(points), left_out=tuple(left_out))


def _of_search(method: Method | None, problem: ProblemAnswers) -> float | None:
    if method is None:
        return weighted_votes(problem)
    known = sum(a.passed is not None for a in problem.answers)
    return method.value(problem, known) if known else None


def merged(parts: Sequence[EvalCurves]) -> EvalCurves:
    """All points of several evaluations together."""
    return EvalCurves(
        tuple(p for e in parts for p in e.points),
        tuple(c for e in parts for c in e.comparisons),
        tuple(g for e in parts for g in e.growth),
        tuple(c for e in parts for c in e.crossovers),
        tuple(line for e in parts for line in e.left_out),
    )


def _by_benchmark(problems: Iterable[ProblemAnswers]) -> dict[str, list[ProblemAnswers]]:
    found: dict[str, list[ProblemAnswers]] = defaultdict(list)
    for problem in problems:
        found[problem.benchmark].append(problem)
    return found


def _usable(benchmark: str, pool: Sequence[ProblemAnswers], budgets: Sequence[int]) -> tuple[list[int], list[str]]:
    """The budgets that every problem can fill, and a line about those that are left out."""
    fewest = min(sum(a.passed is not None for a in p.answers) for p in pool)
    usable = [n for n in sorted(set(budgets)) if n <= fewest]
    notes = []
    beyond = [n for n in sorted(set(budgets)) if n > fewest]
    if beyond:
        short = sum(sum(a.passed is not None for a in p.answers) < beyond[0] for p in pool)
        notes.append(
            f"{benchmark}: {', '.join(map(str, beyond))} samples are not drawn: {short} of {len(pool)} problems have "
            f"fewer than {beyond[0]} checked chains (the fewest: {fewest})"
        )
    return usable, notes


def _without_scores(benchmark: str, pool: Sequence[ProblemAnswers], methods: Sequence[Method]) -> list[str]:
    """A line for each value model whose scores some answers lack."""
    lines = []
    for model in dict.fromkeys(m.reads for m in methods):
        missing = sum(not all(m.applies(p) for m in methods if m.reads == model) for p in pool)
        lines.append(
            f"{benchmark}: nothing is chosen or weighed by {model}: {missing} of {len(pool)} problems have answers "
            "without its score (reward models are set in `rewards` of the run's configuration)"
        )
    return lines


def _column(
    method: Method, pool: Sequence[ProblemAnswers], n: int, models: Mapping[str, ForwardCost], price: Price | None
) -> _Column:
    column = _Column()
    for problem in pool:
        column.add(problem, partial(method.value, n=n), cost_of(problem, n, method.reads, models, price))
    assert len(column.values) == len(pool), "budgets are those that every problem can fill"
    return column


def _points(
    benchmark: str, method: str, n: int, column: _Column, pool: Sequence[ProblemAnswers], run: str
) -> list[CurvePoint]:
    """For all problems, and for those of each difficulty that has any."""
    points = [_point(benchmark, ALL, method, n, column, None, run, subsampled=True)]
    for band, low, high in BANDS:
        chosen = [i for i, p in enumerate(pool) if p.pass_rate is not None and low <= p.pass_rate < high]
        if chosen and len(chosen) < len(pool):
            points.append(_point(benchmark, band, method, n, column, chosen, run, subsampled=True))
    return points


def _point(
    benchmark: str,
    difficulty: str,
    method: str,
    budget: int,
    column: _Column,
    chosen: Sequence[int] | None,
    run: str,
    *,
    subsampled: bool,
) -> CurvePoint:
    rows = list(range(len(column.values))) if chosen is None else list(chosen)
    values = np.array(list(column.values.values()))[rows]
    told = statistics.interval(values)
    costs = [column.costs[i] for i in rows]
    return CurvePoint(
        benchmark=benchmark,
        difficulty=difficulty,
        method=method,
        budget=budget,
        problems=len(rows),
        accuracy=told.mean,
        low=told.low,
        high=told.high,
        unchecked_low=float(np.mean([column.lows[i] for i in rows])),
        unchecked_high=float(np.mean([column.highs[i] for i in rows])),
        generated_tokens=float(np.mean([c.generated for c in costs])),
        forward_tokens=float(np.mean([c.forward for c in costs])),
        flop=_mean([c.flop for c in costs]),
        seconds=_mean([c.seconds for c in costs]),
        usd=_mean([c.usd for c in costs]),
        subsampled=subsampled,
        run=run,
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else None


def _array(column: _Column) -> np.ndarray:
    return np.array(list(column.values.values()))


def _comparisons(
    benchmark: str, columns: Mapping[str, Mapping[int, _Column]], usable: Sequence[int]
) -> list[PairedDifference]:
    """Each pair of methods that choose one answer, at the largest budget; and each with no choice at all."""
    if not usable or usable[-1] == 1:
        return []
    most = usable[-1]
    at_most = {n: by[most] for n, by in columns.items() if n.startswith(("majority", "best-of-N"))}
    if PASS_AT_1.name in columns:
        at_most = {PASS_AT_1.name: columns[PASS_AT_1.name][usable[0]], **at_most}
    return [
        PairedDifference(benchmark, most, a, b, statistics.difference(_array(at_most[a]), _array(at_most[b])))
        for a, b in combinations(at_most, 2)
    ]


def _growth(benchmark: str, columns: Mapping[str, Mapping[int, _Column]], usable: Sequence[int]) -> list[Growth]:
    found = []
    for name, by_budget in columns.items():
        if name == PASS_AT_1.name or name.startswith("G-Pass"):
            continue
        tokens = [float(np.mean([c.generated for c in by_budget[n].costs])) for n in usable]
        fit = statistics.log_fit(tokens, np.array([_array(by_budget[n]) for n in usable]))
        if fit is not None:
            at = None if fit.saturates_at is None else usable[fit.saturates_at]
            found.append(Growth(benchmark, name, fit, at))
    return found


def _crossovers(benchmark: str, columns: Mapping[str, Mapping[int, _Column]], usable: Sequence[int]) -> list[CrossOver]:
    names = [name for name in columns if name.startswith(("majority", "best-of-N"))]
    found = []
    for a, b in combinations(names, 2):
        first, second = (
            [
                (float(np.mean([c.generated for c in columns[name][n].costs])), float(_array(columns[name][n]).mean()))
                for n in usable
            ]
            for name in (a, b)
        )
        sure = [
            (p := statistics.difference(_array(columns[a][n]), _array(columns[b][n])).p) is not None and p < 0.05
            for n in usable
        ]
        found += [CrossOver(benchmark, a, b, told) for told in statistics.crossings(first, second, sure)]
    return found
