"""Draws a sweep: what was measured against the ratio, with what the plan said as a line.

[Point] ─► draw_sweep ─► Figure ─► PNG, or SVG inside the page
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from berry.pipeline.planning.sweeps import Knee, Point, in_series, mean
from berry.pipeline.report.pictures.plots import MARKERS, PALETTE, STYLE

BAND = 0.15  # drawn around a perfect prediction
PointValue = Callable[[Point], float | None]
# title, axis label, scale of the value, field of Point, field of Expected
PANELS: tuple[tuple[str, str, float, str, str], ...] = (
    ("Throughput", "trajectories/s", 1, "trajectories_per_s", "trajectories_per_s"),
    ("Kept trajectories", "kept an hour (thousands)", 1e-3, "kept_per_hour", "kept_per_hour"),
    ("GPU idle share", "engine capacity idle (%)", 100, "engine_idle_share", "engine_idle_share"),
    ("Wait for a sandbox", "mean wait for a slot (ms)", 1, "check_wait_ms", "check_wait_ms"),
    ("Cost", "US$ a million kept", 1, "usd_per_million_kept", "usd_per_million_kept"),
)


def draw_sweep(
    points: Sequence[Point], *, title: str, axis: str, categories: Sequence[str] = (), knees: Sequence[Knee] = ()
) -> Figure:
    """Draws six panels: the five of PANELS against the first key varied, and the plan against what was measured. Bars
    reach from the least to the most of repeats; the throughput has a dotted line at each series' knee."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14, 8.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 3).flatten()
        figure.suptitle(title, fontsize=12)
        series = in_series(points)
        for panel, (name, label, scale, field, told) in zip(axes, PANELS, strict=False):
            _panel(panel, series, lambda p, f=field, s=scale: _times(getattr(p, f), s), _told(told, scale))
            panel.set_title(name)
            panel.set_ylabel(label)
            panel.set_xlabel(axis)
            _ticks(panel, points, categories)
        _knees(axes[0], list(series), knees)
        _agreement(axes[5], series)
        figure.legend(
            handles=_legend(list(series)), loc="outside lower center", ncols=min(5, len(series) + 2), frameon=False
        )
    return figure


def _times(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale


def _told(field: str, scale: float) -> PointValue:
    return lambda p: None if p.expected is None else _times(getattr(p.expected, field), scale)


def _panel(panel: Axes, series: Mapping[str, Mapping[float, list[Point]]], value: PointValue, told: PointValue) -> None:
    drawn = False
    for i, by_x in enumerate(series.values()):
        colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
        places = sorted(by_x)
        means = [_mean([value(p) for p in by_x[x]]) for x in places]
        plan = [_mean([told(p) for p in by_x[x]]) for x in places]
        repeats = [[v for p in by_x[x] if (v := value(p)) is not None] for x in places]
        bars = [(x, sum(vs) / len(vs), vs) for x, vs in zip(places, repeats, strict=True) if len(vs) > 1]
        drawn = drawn or any(m is not None for m in means)
        panel.plot(places, _gaps(means), marker, color=colour, ms=7, mec="white", zorder=4)
        if bars:
            spread = [[m - min(vs) for _, m, vs in bars], [max(vs) - m for _, m, vs in bars]]
            at = [x for x, _, _ in bars], [m for _, m, _ in bars]
            panel.errorbar(*at, yerr=spread, fmt="none", ecolor=colour, capsize=4, zorder=3)
        panel.plot(places, _gaps(plan), "--", color=colour, lw=1.5, zorder=2)
    if drawn:
        panel.set_ylim(bottom=0)
    else:
        panel.text(0.5, 0.5, "no price: give --prices, or\ncluster.nodes.*.usd_per_hour", ha="center", va="center",
                   transform=panel.transAxes)  # fmt: skip


def _knees(panel: Axes, names: Sequence[str], knees: Sequence[Knee]) -> None:
    for knee in knees:
        if knee.x is not None and knee.series in names:
            colour = PALETTE[names.index(knee.series) % len(PALETTE)]
            panel.axvline(knee.x, color=colour, ls=":", lw=1.5, zorder=1)
            panel.annotate("knee", (knee.x, 0.02), xycoords=panel.get_xaxis_transform(), color=colour, fontsize=8)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _gaps(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], dtype=float)


def _ticks(panel: Axes, points: Sequence[Point], categories: Sequence[str]) -> None:
    places = sorted({p.x for p in points})
    if categories:
        panel.set_xticks(range(len(categories)), list(categories), rotation=20, ha="right", fontsize=8)
        return
    if len(places) > 2 and min(places) > 0 and max(places) / min(places) > 20:
        panel.set_xscale("log")
        panel.xaxis.set_minor_locator(NullLocator())
    if len(places) <= 12:
        panel.xaxis.set_major_locator(FixedLocator(places))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def _agreement(panel: Axes, series: Mapping[str, Mapping[float, list[Point]]]) -> None:
    panel.set_title("The plan against what was measured")
    panel.set_xlabel("measured (trajectories/s)")
    panel.set_ylabel("planned (trajectories/s)")
    most = 0.0
    for i, by_x in enumerate(series.values()):
        for here in by_x.values():
            planned = [p.expected.trajectories_per_s for p in here if p.expected is not None]
            was = mean(here, "trajectories_per_s")
            if not planned or was is None:
                continue
            most = max(most, was, planned[0])
            colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
            panel.plot([was], [planned[0]], marker, color=colour, ms=7, mec="white", zorder=4)
    if not most:
        panel.text(0.5, 0.5, "no plan", ha="center", va="center", transform=panel.transAxes)
        return
    line = np.array([0.0, most * 1.1])
    panel.plot(line, line, color="0.4", lw=1)
    panel.fill_between(line, line * (1 - BAND), line * (1 + BAND), color="0.85", zorder=0)
    panel.annotate(f"±{BAND:.0%}", (0.72 * most * 1.1, 0.55 * most * 1.1), color="0.35", fontsize=9)
    panel.set_xlim(0, line[1])
    panel.set_ylim(0, line[1])


def _legend(names: Sequence[str]) -> list[Line2D]:
    handles = []
    for i, name in enumerate(names if len(names) > 1 else ()):
        colour, marker = PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)]
        handles.append(Line2D([], [], color=colour, marker=marker, ls="", ms=7, label=name))
    handles.append(Line2D([], [], color="0.3", marker="o", ls="", ms=6, label="measured"))
    handles.append(Line2D([], [], color="0.3", ls="--", label="plan"))
    return handles
