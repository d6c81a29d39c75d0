"""Draws an evaluation: accuracy against compute on a logarithmic axis, with 95% bands.

    [CurvePoint] ─► draw_eval ─► Figure ─► PNG
                └─► draw_panels ─► a Figure for each panel ─► SVGs inside the page, side by side where there is room

For each benchmark a panel of what chooses among independent samples (colour: the score, line: how it is used) and,
where searches were made, a panel of these (colour: the search, line: what chooses among its leaves); one at a single
budget is a mark. Of the many ways to choose among a search's leaves votes and the first of CHOICES that the run has are
drawn, in every search the same, so that none is picked for having come out well; the tables have all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from berry.pipeline.report.pictures.plots import LINES, MARKERS, PALETTE, STYLE
from berry.pipeline.stages.evaluation.axis import Axis
from berry.pipeline.stages.evaluation.chains import SCORES
from berry.pipeline.stages.evaluation.curves import ALL, CurvePoint

CHOICES = ("prm_last", "orm", "logprob")
GREY = "#777777"
WIDTH_IN, HEIGHT_IN = 7.2, 6.4  # of one panel with its legend
PANEL_IN = 5.4, 5.0  # of one by itself: its letters can be read at the width of a telephone


@dataclass(frozen=True, slots=True)
class Look:
    """How a curve is drawn, told apart without colour as well. `filled`: its markers."""

    colour: str
    marker: str = ""
    line: str = "-"
    filled: bool = True
    width: float = 1.6


def draw_eval(points: Sequence[CurvePoint], *, title: str, axis: Axis = Axis.GENERATED_TOKENS) -> Figure:
    """Draws one or two panels a benchmark; G-Pass@k, which says how stable a model is and chooses nothing, is for the
    tables. Raises ValueError where there are no points whose cost on the axis is known."""
    by_benchmark = _by_benchmark(points, axis)
    kinds = sorted({p.subsampled for here in by_benchmark for p in here}, reverse=True)
    with matplotlib.rc_context(STYLE):
        size = (WIDTH_IN * len(kinds), HEIGHT_IN * len(by_benchmark))
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(by_benchmark), len(kinds), squeeze=False, sharey=True)
        figure.suptitle(title, fontsize=12)
        for row, here in zip(panels, by_benchmark, strict=True):
            for panel, subsampled in zip(row, kinds, strict=True):
                _panel(panel, here, axis, subsampled=subsampled)
    return figure


def draw_panels(points: Sequence[CurvePoint], *, axis: Axis = Axis.GENERATED_TOKENS) -> Iterator[Figure]:
    """Draws each panel of `draw_eval` by itself. Raises ValueError as that does."""
    for here in _by_benchmark(points, axis):
        for subsampled in sorted({p.subsampled for p in here}, reverse=True):
            with matplotlib.rc_context(STYLE):
                figure = Figure(figsize=PANEL_IN, layout="constrained")
                FigureCanvasAgg(figure)
                panel = figure.subplots()
                _panel(panel, here, axis, subsampled=subsampled, legend_columns=2)
                panel.set_title(panel.get_title().replace(": ", ":\n", 1))
            yield figure


def _by_benchmark(points: Sequence[CurvePoint], axis: Axis) -> list[list[CurvePoint]]:
    """What is drawn of each benchmark."""
    shown = [p for p in points if p.difficulty == ALL and not p.method.startswith("G-Pass") and p.on(axis)]
    if not shown:
        raise ValueError(f"an evaluation without points of known {axis.value} has no picture")
    return [[p for p in shown if p.benchmark == name] for name in sorted({p.benchmark for p in shown})]


def _panel(panel: Axes, points: Sequence[CurvePoint], axis: Axis, *, subsampled: bool, legend_columns: int = 3) -> None:
    samples = [p for p in points if p.subsampled]
    own = samples if subsampled else [p for p in points if not p.subsampled]
    if not subsampled:
        for method, line in (("pass@k", ":"), ("majority", "-")):
            _curve(panel, [p for p in samples if p.method == method], axis, Look(GREY, line=line, width=1.0))
        own = _drawn(own)
    looks = _sample_looks(own) if subsampled else _search_looks(own)
    for method, look in looks.items():
        _curve(panel, [p for p in own if p.method == method], axis, look)
    in_tokens = axis in (Axis.GENERATED_TOKENS, Axis.FORWARD_TOKENS)
    panel.set_xscale("log", base=2 if in_tokens else 10)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if in_tokens else f"{x:.3g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_xlabel(axis.label)
    panel.set_ylabel("right answers (%)")
    panel.set_ylim(0, 102)
    what = "choosing among independent samples" if subsampled else "searches; grey: independent samples"
    panel.set_title(f"{points[0].benchmark}, {max(p.problems for p in points)} problems: {what}")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=legend_columns, frameon=False, fontsize=8)


def _curve(panel: Axes, points: Sequence[CurvePoint], axis: Axis, look: Look) -> None:
    if not points:
        return
    if points[0].method.startswith("pass@1"):  # the same at any cost
        panel.axhline(100 * points[0].accuracy, color=look.colour, ls=look.line, lw=look.width, label=points[0].method)
        return
    curve = sorted(points, key=lambda p: p.on(axis) or 0.0)
    costs = [p.on(axis) or 0.0 for p in curve]
    panel.plot(
        costs,
        [100 * p.accuracy for p in curve],
        color=look.colour,
        marker=look.marker,
        ls=look.line,
        lw=look.width,
        ms=5,
        mfc=look.colour if look.filled else "white",
        label=curve[0].method,
    )
    if not look.marker or any(p.low is None or p.high is None for p in curve):
        return
    lows, highs = [100 * (p.low or 0) for p in curve], [100 * (p.high or 0) for p in curve]
    if len(curve) > 1:
        panel.fill_between(costs, lows, highs, color=look.colour, alpha=0.07, lw=0)
    else:
        panel.vlines(costs, lows, highs, color=look.colour, lw=1)


def _sample_looks(points: Sequence[CurvePoint]) -> dict[str, Look]:
    """Colour by the score that chooses, line and marker by how it is used; a second run has hollow markers."""
    looks: dict[str, Look] = {}
    for method in dict.fromkeys(p.method for p in points):
        name, of_run, _ = method.partition(" (")
        filled = not of_run
        kind, _, score = name.partition(", ")
        colour = PALETTE[1 + SCORES.index(score)] if score in SCORES else PALETTE[0]
        if kind in ("pass@1", "pass@k"):
            looks[method] = Look("#000000", "P", ":", filled) if kind == "pass@k" else Look(GREY, line="--")
        elif kind == "majority":
            looks[method] = Look(colour, "s", "--" if score else "-", filled)
        else:
            looks[method] = Look(colour, "o", "-", filled)
    return looks


def _drawn(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Of the searches, votes and the first of CHOICES that all of them have."""
    made = {p.method.rpartition(", ")[::2] for p in points}
    searches = {name for name, _ in made}
    by = next((choice for choice in CHOICES if all((name, choice) in made for name in searches)), None)
    return [p for p in points if p.method.rpartition(", ")[2] in ("majority", by)]


def _search_looks(points: Sequence[CurvePoint]) -> dict[str, Look]:
    """Colour and marker by the search, line by what chooses among its leaves."""
    searches = list(dict.fromkeys(p.method.rpartition(", ")[0] for p in points))
    looks: dict[str, Look] = {}
    for method in dict.fromkeys(p.method for p in points):
        name, _, choice = method.rpartition(", ")
        at = searches.index(name)
        votes = choice == "majority"
        looks[method] = Look(
            PALETTE[at % len(PALETTE)], MARKERS[at % len(MARKERS)], LINES[0] if votes else LINES[1], filled=votes
        )
    return looks
