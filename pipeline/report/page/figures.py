"""Draws a report's pictures as SVG: the keep funnel, shares that passed by problem, speed over time.

Facts ─► [(title, what it shows, SVG)]        a picture without data is left out
"""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from berry.pipeline.report.page.facts import Facts
from berry.pipeline.report.pictures.plots import PALETTE, STYLE, as_svg

BINS = 20


def pictures(facts: Facts) -> Iterator[tuple[str, str, str]]:
    """Title, caption and SVG of each picture that there is data for."""
    if facts.funnel:
        yield "From trajectories to kept", "Counts; each bar is a part of the one above.", as_svg(_funnel(facts))
    if facts.rates:
        caption = "Of those that were right or wrong, as the searches found them: not an estimate of pass@1."
        yield "Share of a problem's trajectories that passed", caption, as_svg(_rates(facts))
    if len(facts.progress) > 2:
        caption = "Every ten seconds: tokens generated a second, sequences decoded, checks that wait for a sandbox."
        yield "Over time", caption, as_svg(_over_time(facts))


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _funnel(facts: Facts) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = _figure(6.5, 2.4)
        axes = figure.subplots()
        names, counts = [n for n, _ in facts.funnel], [c for _, c in facts.funnel]
        places = np.arange(len(names))[::-1]
        axes.barh(places, counts, color=PALETTE[0], height=0.62)
        axes.set_yticks(places, names)
        top = max(counts) or 1.0
        for place, count in zip(places, counts, strict=True):
            axes.text(count + top * 0.01, place, f"{count:,.0f} ({count / top:.0%})", va="center", fontsize=9)
        axes.set_xlim(0, top * 1.22)
        axes.grid(visible=False, axis="y")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _rates(facts: Facts) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = _figure(6.5, 2.6)
        axes = figure.subplots()
        axes.hist([100 * r for r in facts.rates], bins=BINS, range=(0, 100), color=PALETTE[2], edgecolor="white")
        axes.set_xlabel("passed (%)")
        axes.set_ylabel("problems")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _over_time(facts: Facts) -> Figure:
    rows = sorted(facts.progress, key=lambda row: row["at"])
    start = rows[0]["at"]
    minutes = [(row["at"] - start) / 60 for row in rows]
    panels = (
        ("tokens/s", [row.get("tokens_per_s") or 0.0 for row in rows], PALETTE[0]),
        ("sequences", [row.get("running") or 0 for row in rows], PALETTE[2]),
        ("checks waiting", [row.get("sandbox_queue") or 0 for row in rows], PALETTE[1]),
    )
    with matplotlib.rc_context(STYLE):
        figure = _figure(9, 5.2)
        axes = figure.subplots(len(panels), 1, sharex=True)
        for panel, (label, values, colour) in zip(axes, panels, strict=True):
            panel.plot(minutes, values, color=colour, lw=1.4)
            panel.set_ylabel(label)
            panel.set_ylim(bottom=0)
            panel.spines[["top", "right"]].set_visible(False)
        axes[-1].set_xlabel("minutes since the first row")
    return figure
