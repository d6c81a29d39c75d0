"""Writes an evaluation as one self-contained HTML page and as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from berry.pipeline.report.pages import fill
from berry.pipeline.stages.evaluation.curves import ALL, CurvePoint, EvalCurves
from berry.pipeline.stages.evaluation.table import cell

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
    """Growth with tokens, differences beyond doubt, crossings: a line each."""
    for g in told.growth:
        fit = g.fit
        spread = "" if fit.low is None else f" ({100 * fit.low:+.1f} to {100 * (fit.high or 0):+.1f})"
        end = "" if g.saturates_at is None else f"; no further gain that can be told from none beyond {g.saturates_at}"
        yield f"{g.benchmark}, {g.method}: {100 * fit.per_doubling:+.1f} points a doubling{spread}{end}"
    for c in told.comparisons:
        told_by = c.told
        if told_by.p is not None and told_by.p < 0.05:
            yield (
                f"{c.benchmark} at {c.budget}: {c.second} {100 * told_by.mean:+.1f} points over {c.first} "
                f"({100 * (told_by.low or 0):+.1f} to {100 * (told_by.high or 0):+.1f}, {probability(told_by.p)})"
            )
    for x in told.crossovers:
        sure = "" if x.told.sure else ", within noise"
        yield f"{x.benchmark}: {x.first} and {x.second} cross at {x.told.tokens:,.0f} tokens a problem{sure}"


def probability(p: float) -> str:
    """A p-value for people, as in `p 0.013`."""
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def render(told: EvalCurves, svg: str, *, title: str, notes: Sequence[str], compared: Sequence[str]) -> str:
    """Makes one HTML file without references to others."""
    return fill(
        "eval.html.j2",
        title=title,
        svg=svg,
        columns=DETAIL,
        rows=[_detail(p) for p in told.points],
        findings=list(findings(told)),
        compared=list(compared),
        notes=list(notes),
    )


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
