"""Writes an evaluation as one self-contained HTML page and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from berry.pipeline.report.pages import fill
from berry.pipeline.stages.evaluation.axis import Axis
from berry.pipeline.stages.evaluation.curves import ALL, CrossOver, CurvePoint, EvalCurves, PairedDifference
from berry.pipeline.stages.evaluation.table import by_budget, cell

DETAIL = (
    "benchmark", "difficulty", "method", "budget", "problems", "accuracy (95%)", "generated tokens", "forward tokens",
    "TFLOP", "s", "US$",
)  # fmt: skip
SHOWN_BUDGETS = 4  # columns that a terminal of 80 has room for


def tables(told: EvalCurves) -> Iterator[Table]:
    """A table a benchmark: methods down, some of the budgets across."""
    shown = [p for p in told.points if p.difficulty == ALL]
    for benchmark in sorted({p.benchmark for p in shown}):
        here = [p for p in shown if p.benchmark == benchmark]
        budgets = _some(sorted({p.budget for p in here}))
        title = f"{benchmark}: right answers in %, {max(p.problems for p in here)} problems"
        table = Table(title=title, title_justify="left", box=None, header_style="bold")
        table.add_column("method")
        for n in budgets:
            table.add_column(f"{n}", justify="right")
        for method in dict.fromkeys(p.method for p in here):
            cells = {p.budget: _short(p) for p in here if p.method == method}
            table.add_row(method, *(cells.get(n, "") for n in budgets))
        yield table


def _some(budgets: Sequence[int]) -> list[int]:
    """At most SHOWN_BUDGETS of them, the first and the last among them."""
    if len(budgets) <= SHOWN_BUDGETS:
        return list(budgets)
    step = (len(budgets) - 1) / (SHOWN_BUDGETS - 1)
    return [budgets[round(i * step)] for i in range(SHOWN_BUDGETS)]


def _short(point: CurvePoint) -> str:
    if point.low is None or point.high is None:
        return f"{100 * point.accuracy:.1f}"
    return f"{100 * point.accuracy:.1f} ±{50 * (point.high - point.low):.1f}"


def findings(told: EvalCurves) -> Iterator[str]:
    """Growth with compute, differences beyond doubt, crossings: a line each."""
    for g in told.growth:
        fit = g.fit
        spread = "" if fit.low is None else f" ({100 * fit.low:+.1f} to {100 * (fit.high or 0):+.1f})"
        end = "" if g.saturates_at is None else f"; no further gain that can be told from none beyond {g.saturates_at}"
        yield f"{g.benchmark}, {g.method}: {100 * fit.per_doubling:+.1f} points a doubling{spread}{end}"
    sure = [c for c in told.comparisons if c.told.p is not None and c.told.p < 0.05]
    for c in sure:
        better, other = (c.second, c.first) if c.told.mean > 0 else (c.first, c.second)
        ends = sorted(abs(v) if v * c.told.mean >= 0 else -abs(v) for v in (c.told.low or 0.0, c.told.high or 0.0))
        yield (
            f"{c.benchmark} at {amount(c.cost, told.axis)}: {better} {100 * abs(c.told.mean):+.1f} points over {other} "
            f"({100 * ends[0]:+.1f} to {100 * ends[1]:+.1f}, {probability(c.told.p or 0.0)})"
        )
    if told.comparisons:
        yield f"{len(sure)} of {len(told.comparisons)} pairs differ at p < 0.05; by chance alone one in twenty would"
    for x in told.crossovers:
        if x.told.sure:
            yield f"{x.benchmark}: {crossing(x, told.axis)}"
    noisy = sum(not x.told.sure for x in told.crossovers)
    if noisy:
        yield f"{noisy} more crossings are within noise; the page has them"


def crossing(x: CrossOver, axis: Axis) -> str:
    """Where two methods change order, for people."""
    return f"{x.first} and {x.second} cross at {amount(x.told.cost, axis)} a problem"


_UNITS = {
    Axis.GENERATED_TOKENS: "generated tokens",
    Axis.FORWARD_TOKENS: "forward tokens",
    Axis.FLOP: "FLOP",
    Axis.SECONDS: "s",
    Axis.USD: "US$",
}


def amount(cost: float, axis: Axis) -> str:
    """A cost for people, as in `1,024 generated tokens` or `3.1e+12 FLOP`."""
    number = f"{cost:,.0f}" if axis in (Axis.GENERATED_TOKENS, Axis.FORWARD_TOKENS) else f"{cost:.3g}"
    return f"{number} {_UNITS[axis]}"


def probability(p: float) -> str:
    """A p-value for people, as in `p 0.013`."""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def render(
    told: EvalCurves, pictures: Sequence[str], *, title: str, notes: Sequence[str], compared: Sequence[str]
) -> str:
    """Makes one HTML file without references to others; `pictures`: SVG elements."""
    rows = [_detail(p) for p in told.points]
    known = [at for at in range(len(DETAIL)) if any(row[at] for row in rows)]
    return fill(
        "eval.html.j2",
        title=title,
        pictures=pictures,
        tables=list(by_budget(told.points)),
        columns=[DETAIL[at] for at in known],
        rows=[[row[at] for at in known] for row in rows],
        findings=list(findings(told)),
        pairs=[_pair(c, told.axis) for c in told.comparisons],
        crossings=[f"{x.benchmark}: {crossing(x, told.axis)}" for x in told.crossovers if not x.told.sure],
        compared=list(compared),
        notes=list(notes),
    )


def _pair(c: PairedDifference, axis: Axis) -> list[str]:
    told = c.told
    spread = "" if told.low is None else f"{100 * told.low:+.1f} to {100 * (told.high or 0):+.1f}"
    chance = "" if told.p is None else f"{told.p:.4f}"
    cost = amount(c.cost, axis)
    return [c.benchmark, c.first, c.second, cost, f"{told.problems:,}", f"{100 * told.mean:+.1f}", spread, chance]


def _detail(p: CurvePoint) -> list[str]:
    return [
        p.benchmark,
        p.difficulty,
        p.method,
        f"{p.budget}",
        f"{p.problems:,}",
        cell(p),
        f"{p.generated_tokens:,.0f}",
        f"{p.forward_tokens:,.0f}",
        "" if p.flop is None else f"{p.flop / 1e12:,.4g}",
        "" if p.seconds is None else f"{p.seconds:.3g}",
        "" if p.usd is None else f"{p.usd:.3g}",
    ]
