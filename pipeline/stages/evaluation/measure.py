"""Measures each method at each budget, problem by problem: of independent chains, and of whole searches.

ProblemAnswers of a benchmark ─► MethodValues: a value and a cost by problem, for each method and budget
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from berry.pipeline.stages.evaluation.axis import Axis
from berry.pipeline.stages.evaluation.chains import LOGPROB, SCORES, ProblemAnswers
from berry.pipeline.stages.evaluation.compute import Cost, ForwardCost, Price, cost_of
from berry.pipeline.stages.evaluation.methods import (
    ORDER,
    PASS_AT_1,
    Method,
    best_of_n,
    chosen_by,
    pass_at_k,
    unchecked_band,
    weighted_votes,
)


@dataclass(slots=True)
class MethodValues:
    """A method at one budget on one benchmark. `chosen_by`: what it chooses one answer by (votes, orm, …), so that like
    is compared with like; None where it chooses none. `values`: chance of being right, by problem; `lows`, `highs`:
    where that would lie if what could not be checked were wrong, or right. `subsampled`: from a pool of independent
    chains."""

    benchmark: str
    method: str
    budget: int
    chosen_by: str | None
    subsampled: bool
    run: str
    values: dict[str, float] = field(default_factory=dict)
    lows: dict[str, float] = field(default_factory=dict)
    highs: dict[str, float] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)

    def add(self, problem: ProblemAnswers, value: Callable[[ProblemAnswers], float | None], cost: Cost) -> None:
        """Adds what a method says of a problem; nothing where it says nothing."""
        told, band = value(problem), unchecked_band(value, problem)
        if told is None or band is None:
            return
        name = problem.problem_id
        self.values[name] = told
        self.lows[name] = min(band[0], told)
        self.highs[name] = max(band[1], told)
        self.costs[name] = cost

    def cost(self, axis: Axis, problems: Collection[str] | None = None) -> float | None:
        """Mean over the problems (all); None where it is not known of each."""
        found = [self.costs[name].on(axis) for name in (self.costs if problems is None else problems)]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if known and len(known) == len(found) else None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run gave. `pass_rates` of the generator by benchmark and problem, from independent chains; `left_out`:
    what was not measured, and why, a line each."""

    columns: tuple[MethodValues, ...]
    pass_rates: Mapping[tuple[str, str], float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @staticmethod
    def merged(parts: Sequence[Measurement]) -> Measurement:
        """Several runs on the same problems together."""
        return Measurement(
            tuple(column for part in parts for column in part.columns),
            {key: rate for part in parts for key, rate in part.pass_rates.items()},
            tuple(line for part in parts for line in part.left_out),
        )


def measure_chains(
    problems: Iterable[ProblemAnswers],
    budgets: Sequence[int],
    models: Mapping[str, ForwardCost],
    *,
    methods: Sequence[Method] = ORDER,
    price: Price | None = None,
    run: str = "",
) -> Measurement:
    """Methods at `budgets` samples a problem, subsampled from independent chains. A budget is measured where every
    problem of the benchmark has as many checked chains, so that all its points are of the same problems."""
    columns: list[MethodValues] = []
    left_out: list[str] = []
    rates: dict[tuple[str, str], float] = {}
    for benchmark, pool in sorted(by_benchmark(problems).items()):
        rates |= {(benchmark, p.problem_id): p.pass_rate for p in pool if p.pass_rate is not None}
        usable, notes = _usable(benchmark, pool, budgets)
        left_out += notes
        applied = [m for m in methods if all(m.applies(p) for p in pool)]
        left_out += _without_scores(benchmark, pool, [m for m in methods if m not in applied])
        for method in applied:
            for n in usable[: 1 if method is PASS_AT_1 else None]:
                column = MethodValues(benchmark, method.name, n, chosen_by(method), subsampled=True, run=run)
                readers = () if method.reads is None else (method.reads,)
                for problem in pool:
                    cost = cost_of(problem, n, readers, models, price)
                    column.add(problem, partial(method.value, n=n), cost)
                assert len(column.values) == len(pool), "budgets are those that every problem can fill"
                columns.append(column)
    return Measurement(tuple(columns), rates, tuple(left_out))


def measure_search(
    problems: Iterable[ProblemAnswers],
    name: str,
    budget: int,
    models: Mapping[str, ForwardCost],
    *,
    scorers: Collection[str] = (),
    price: Price | None = None,
    run: str = "",
) -> Measurement:
    """A search at its own budget: each way to choose among its leaves. Nothing is subsampled, since leaves that share
    prefixes are no independent samples. `scorers`: reward models that the search asks while it grows."""
    columns: list[MethodValues] = []
    left_out: list[str] = []
    for benchmark, pool in sorted(by_benchmark(problems).items()):
        answered = [p for p in pool if p.answers]
        if len(answered) < len(pool):
            left_out.append(f"{benchmark}: {name}: {len(pool) - len(answered)} problems without a finished answer")
        choices: list[tuple[str, Method | None]] = [("majority", None), ("any", Method("any", pass_at_k))]
        scored = [Method(f"best-of-N, {score}", best_of_n(score), score) for score in SCORES]
        choices += [(str(m.score), m) for m in scored if answered and all(m.applies(p) for p in answered)]
        for label, method in choices:
            by = "votes" if method is None else chosen_by(method)
            column = MethodValues(benchmark, f"{name}, {label}", budget, by, subsampled=False, run=run)
            readers = {*scorers, *(() if method is None or method.reads is None else (method.reads,))}
            for problem in answered:
                column.add(problem, partial(_of_search, method), cost_of(problem, None, readers, models, price))
            unknown = len(answered) - len(column.values)
            if unknown:
                left_out.append(f"{benchmark}: {column.method}: {unknown} problems of which no answer could be checked")
            if column.values:
                columns.append(column)
    return Measurement(tuple(columns), left_out=tuple(left_out))


def _of_search(method: Method | None, problem: ProblemAnswers) -> float | None:
    if method is None:
        return weighted_votes(problem)
    known = sum(a.passed is not None for a in problem.answers)
    return method.value(problem, known) if known else None


def by_benchmark(problems: Iterable[ProblemAnswers]) -> dict[str, list[ProblemAnswers]]:
    """The problems of each benchmark."""
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
    """A line for each score that some answers lack."""
    lines = []
    for model in dict.fromkeys(m.reads or LOGPROB for m in methods):
        missing = sum(not all(m.applies(p) for m in methods if (m.reads or LOGPROB) == model) for p in pool)
        remedy = "reward models are set in `rewards` of the run's configuration"
        if model == LOGPROB:
            remedy = "the run did not store log-probabilities"
        lines.append(
            f"{benchmark}: nothing is chosen or weighed by {model}: {missing} of {len(pool)} problems have answers "
            f"without its score ({remedy})"
        )
    return lines
