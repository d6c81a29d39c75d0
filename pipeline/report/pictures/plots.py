"""Draws pictures of plans: what the GPU:CPU ratio does to speed, idle GPUs and cost. Colours by Okabe and Ito,
told apart by marker and line as well, so that they survive colour blindness and grey print.

    [Plan] ─► draw_plans ─► Figure ─► PNG, or SVG inside the page
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from berry.pipeline.planning.capacity import CapacityPlan

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":", "-", "--", "-.", ":")
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "svg.fonttype": "path",
}


def draw_plans(plans: Sequence[CapacityPlan], title: str) -> Figure:
    """Draws four panels: tokens/s and GPU idle share against sandbox slots a GPU, slots had and needed, cost."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 8.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 2)
        figure.suptitle(title, fontsize=12)
        counts = [_slot_counts(plans, p) for p in plans]
        rates = [np.array([p.rate_with(n) for n in its]) for p, its in zip(plans, counts, strict=True)]
        _curves(axes[0, 0], plans, counts, rates, idle=False)
        _curves(axes[0, 1], plans, counts, rates, idle=True)
        _slots(axes[1, 0], plans)
        _cost(axes[1, 1], plans)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        columns = min(4, len(plans))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Writes a picture as a PNG file."""
    figure.savefig(path, dpi=130)


def as_png(figure: Figure) -> bytes:
    """Makes a figure the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def as_svg(figure: Figure) -> str:
    """Makes a figure an SVG element to put into a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _slot_counts(plans: Sequence[CapacityPlan], of: CapacityPlan) -> np.ndarray:
    """Chooses whole numbers of slots for one plan, from well below the least need to well above what any cluster has
    or needs a GPU: there are no halves of slots, and nothing is said between two numbers of them."""
    marks = [m for p in plans for m in (p.slots / p.units, (p.slots_needed or p.slots) / p.units) if m > 0]
    ratios = np.geomspace(min(marks) / 4, max(marks) * 2.5, 48)
    return np.unique(np.maximum(1, np.round(ratios * of.units)))


def _curves(
    axes: Axes, plans: Sequence[CapacityPlan], counts: Sequence[np.ndarray], rates: Sequence[np.ndarray], *, idle: bool
) -> None:
    for i, (p, its, rate) in enumerate(zip(plans, counts, rates, strict=True)):
        colour, line, marker = PALETTE[i % 8], LINES[i % 8], MARKERS[i % 8]
        dots = marker if len(its) <= 12 else None
        axes.plot(
            its / p.units,
            _values(p, rate, idle=idle),
            line,
            color=colour,
            lw=1.8,
            marker=dots,
            ms=3,
            label=p.cluster.name,
        )
        here = _values(p, np.array([p.rate]), idle=idle)
        axes.plot([p.slots / p.units], here, marker, color=colour, ms=9, mec="white", zorder=5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.set_xlabel("sandbox slots a GPU (marker: this cluster)")
    if idle:
        axes.set_ylabel("GPU capacity idle (%)")
        axes.set_title("What too few sandboxes leave idle")
        axes.set_ylim(-3, 103)
    else:
        axes.set_ylabel("tokens/s a GPU")
        axes.set_title("Speed against the ratio")
        axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.05)


def _values(p: CapacityPlan, rate: np.ndarray, *, idle: bool) -> np.ndarray:
    if idle:
        return 100 * np.maximum(0.0, 1 - rate / p.fastest)
    return rate * p.tree.generated / p.tree.leaves / p.units


def _slots(axes: Axes, plans: Sequence[CapacityPlan]) -> None:
    places = np.arange(len(plans))
    kinds = (
        ("on average (rate × time)", [p.slots_average / p.units for p in plans], "#BBBBBB", ""),
        ("needed with queueing", [(p.slots_needed or 0) / p.units for p in plans], "#E69F00", "//"),
        ("in the cluster", [p.slots / p.units for p in plans], "#0072B2", ""),
    )
    for offset, (label, values, colour, hatch) in zip((-0.27, 0, 0.27), kinds, strict=True):
        bars = axes.bar(
            places + offset, values, 0.26, label=label, color=colour, hatch=hatch, edgecolor="white", linewidth=0.5
        )
        axes.bar_label(bars, fmt=lambda v: f"{v:.2g}" if v else "none", fontsize=7.5, padding=1)
    axes.set_ylim(bottom=0, top=axes.get_ylim()[1] * 1.35)  # bars begin at nothing
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.set_xticks(places, [p.cluster.name for p in plans])
    axes.set_ylabel("sandbox slots a GPU")
    axes.set_title("Slots: asked for, needed, there")
    axes.legend(frameon=False, fontsize=8, loc="upper left", ncols=2, columnspacing=1)


def _cost(axes: Axes, plans: Sequence[CapacityPlan]) -> None:
    places = np.arange(len(plans))
    values = [p.usd_per_million_kept for p in plans]
    if all(v is None for v in values):
        values = [p.totals.gpu_hours / max(p.totals.trajectories, 1) * 1e6 or None for p in plans]
        axes.set_ylabel("GPU-hours a million trajectories")
        axes.set_title("Effort (no prices)")
    else:
        axes.set_ylabel("US$ a million kept trajectories")
        axes.set_title("Cost")
    if not any(values):
        why = "costs nothing by this price sheet" if 0 in values else "no price: name a sheet with --prices"
        axes.set_axis_off()
        axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
        return
    heights = [v or 0.0 for v in values]
    bars = axes.bar(places, heights, 0.6, color=[PALETTE[i % 8] for i in range(len(plans))])
    notes = [_cost_note(p, v) for p, v in zip(plans, values, strict=True)]
    axes.bar_label(bars, labels=notes, fontsize=8, padding=2)
    axes.set_ylim(bottom=0, top=max([*heights, 1e-9]) * 1.35)
    axes.set_xticks(places, [p.cluster.name for p in plans])


def _cost_note(p: CapacityPlan, value: float | None) -> str:
    if value is None:
        return "no price"
    return "\n".join([f"{value:,.0f}", *textwrap.wrap(p.binding.value, 16)])
