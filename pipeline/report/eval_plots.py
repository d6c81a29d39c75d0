"""Draws an evaluation: accuracy against compute on a logarithmic axis, a panel a benchmark; a search at one budget is a
single mark.

[CurvePoint] ─► draw_eval ─► Figure ─► PNG, or SVG inside the page
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from berry.pipeline.report.plots import LINES, MARKERS, PALETTE, STYLE
from berry.pipeline.stages.evaluation.axis import Axis
from berry.pipeline.stages.evaluation.curves import ALL, CurvePoint

MOST_COLUMNS = 2


def draw_eval(points: Sequence[CurvePoint], *, title: str, axis: Axis = Axis.GENERATED_TOKENS) -> Figure:
    """Draws one panel a benchmark, with 95% bands; G-Pass@k, which says how stable a model is and chooses nothing, is
    for the tables. Raises ValueError where there are no points whose cost on the axis is known."""
    shown = [p for p in points if p.difficulty == ALL and not p.method.startswith("G-Pass") and p.on(axis)]
    benchmarks = sorted({p.benchmark for p in shown})
    if not benchmarks:
        raise ValueError(f"an evaluation without points of known {axis.value} has no picture")
    columns = min(MOST_COLUMNS, len(benchmarks))
    rows = -(-len(benchmarks) // columns)
    methods = list(dict.fromkeys(p.method for p in shown))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.5 * columns, 4.6 * rows + 0.35 * (len(methods) // 3 + 1)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(rows, columns, squeeze=False).flatten()
        figure.suptitle(title, fontsize=12)
        for panel, benchmark in zip(panels, benchmarks, strict=False):
            here = [p for p in shown if p.benchmark == benchmark]
            _panel(panel, here, methods, axis)
            panel.set_title(f"{benchmark}, {max(p.problems for p in here)} problems")
        for panel in panels[len(benchmarks) :]:
            panel.set_axis_off()
        figure.legend(handles=_legend(methods), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _look(index: int) -> tuple[str, str, str]:
    """Colour, marker and line: told apart without colour as well."""
    return PALETTE[index % len(PALETTE)], MARKERS[(index * 3) % len(MARKERS)], LINES[(index // len(PALETTE)) % 4]


def _panel(panel: Axes, points: Sequence[CurvePoint], methods: Sequence[str], axis: Axis) -> None:
    for i, method in enumerate(methods):
        curve = sorted((p for p in points if p.method == method), key=lambda p: p.on(axis) or 0.0)
        if not curve:
            continue
        colour, marker, line = _look(i)
        costs = [p.on(axis) or 0.0 for p in curve]
        panel.plot(costs, [100 * p.accuracy for p in curve], line, color=colour, marker=marker, ms=5, lw=1.6)
        if all(p.low is not None and p.high is not None for p in curve):
            lows, highs = [100 * (p.low or 0) for p in curve], [100 * (p.high or 0) for p in curve]
            if len(curve) > 1:
                panel.fill_between(costs, lows, highs, color=colour, alpha=0.08, lw=0)
            else:
                panel.vlines(costs, lows, highs, color=colour, lw=1)
    in_tokens = axis in (Axis.GENERATED_TOKENS, Axis.FORWARD_TOKENS)
    panel.set_xscale("log", base=2 if in_tokens else 10)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if in_tokens else f"{x:.3g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(axis.label)
    panel.set_ylabel("right answers (%)")
    panel.set_ylim(0, 102)


def _legend(methods: Sequence[str]) -> list[Line2D]:
    handles = []
    for i, method in enumerate(methods):
        colour, marker, line = _look(i)
        handles.append(Line2D([], [], color=colour, marker=marker, ls=line, ms=5, label=method))
    return handles
