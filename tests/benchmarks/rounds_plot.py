"""Draws what rounds and pruning bought, as one picture. Colours and markers as in plots.py.

curves of pass@1 by round, bars of kept trajectories per 1,000 tokens, shares left after each stage ─► PNG bytes
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from berry.pipeline.report.pictures.plots import LINES, MARKERS, PALETTE, STYLE


def draw_rounds(
    pass_at_1: Mapping[str, Sequence[tuple[float, ...]]],
    per_1000: Mapping[str, Sequence[float]],
    left: Mapping[str, Mapping[str, float]],
    *,
    title: str,
) -> bytes:
    """`pass_at_1`: for each way of learning one curve a seed, a value a round. `per_1000`: for each way of searching a
    value a seed. `left`: for each way or round the share of branches left after each stage."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        curves, bars, stages = figure.subplots(1, 3)
        figure.suptitle(title, fontsize=11)
        _curves(curves, pass_at_1)
        _bars(bars, per_1000)
        _stages(stages, left)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()


def _curves(axes: Axes, series: Mapping[str, Sequence[tuple[float, ...]]]) -> None:
    for i, (name, seeds) in enumerate(series.items()):
        for j, values in enumerate(seeds):
            label = name if j == 0 else None
            axes.plot(range(len(values)), values, LINES[i], marker=MARKERS[i], color=PALETTE[i], label=label)
    axes.set_title("pass@1 on held-out problems")
    axes.set_xlabel("round")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(frameon=False, title="the generator learned")


def _bars(axes: Axes, series: Mapping[str, Sequence[float]]) -> None:
    for i, (name, values) in enumerate(series.items()):
        width = 0.8 / max(1, len(values))
        places = [i - 0.4 + width * (j + 0.5) for j in range(len(values))]
        axes.bar(places, values, width=0.9 * width, color=PALETTE[i])
        for place, value in zip(places, values, strict=True):
            axes.annotate(f"{value:.0f}", (place, value), ha="center", va="bottom")
        axes.set_xticks(range(len(series)), list(series))
        del name
    axes.tick_params(axis="x", labelrotation=25)
    axes.margins(y=0.12)
    axes.grid(visible=False, axis="x")
    axes.set_title("kept trajectories per 1,000 tokens")


def _stages(axes: Axes, left: Mapping[str, Mapping[str, float]]) -> None:
    for i, (name, shares) in enumerate(left.items()):
        names = ["grown", *shares]
        axes.plot(names, [1.0, *shares.values()], LINES[i], marker=MARKERS[i], color=PALETTE[i], label=name)
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="x", labelrotation=25)
    axes.set_title("branches left after each stage")
    axes.legend(frameon=False)
