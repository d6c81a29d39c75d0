"""Draws a value model's calibration curve.

[Bin] ─► draw_calibration ─► PNG bytes
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from berry.pipeline.rewards.training.metrics import Bin

_STYLE: dict[Any, Any] = {"axes.axisbelow": True, "font.size": 10, "axes.grid": True, "grid.alpha": 0.3}


def draw_calibration(bins: Sequence[Bin], *, title: str) -> bytes:
    """Mean label against mean score a bin, with the labels in each bin below."""
    import matplotlib  # a run that draws nothing need not wait for it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 5.6), layout="constrained")
        FigureCanvasAgg(figure)
        curve, counts = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
        curve.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfect")
        curve.plot([b.score for b in bins], [b.label for b in bins], color="#0072B2", marker="o", label="model")
        curve.set_xlim(0, 1)
        curve.set_ylim(0, 1)
        curve.set_ylabel("what the labels say")
        curve.legend(frameon=False)
        curve.set_title(title, fontsize=9, wrap=True)
        counts.bar([b.score for b in bins], [b.count for b in bins], width=0.06, color="#56B4E9")
        counts.set_ylabel("labels")
        counts.set_xlabel("score")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
