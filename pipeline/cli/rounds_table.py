"""Draws the table of a run's rounds beside each other, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from berry.pipeline.report.rounds import RoundLine


def rounds_table(lines: Sequence[RoundLine], mode: str | None = None) -> Any:
    """A row a round. The gain is to the first round on the same problems. `mode`: the one that all rows are of."""
    from rich.table import Table

    first = lines[0]
    title = f"rounds; pass@1 on {first.heldout_problems} problems held out from all training, unpruned in every round"
    if first.heldout_null:
        title += f" ({first.heldout_null} more have no unbiased value in some round)"
    if first.pooled:
        title = f"rounds; plain shares of leaves (0.1.0, biased by cuts) on {first.heldout_problems} held-out problems"
    if mode is not None:
        title = f"mode {mode}: {title}"
    names = ("round", "held out", "gain", "others", "kept", "cut", "kept / 1,000 tokens", "generator", "reward models")
    shows_staleness = any(line.staleness != 0 for line in lines)
    if shows_staleness:
        names += ("behind",)  # versions
    table = Table(*names, title=title, title_justify="left", box=None, header_style="bold")
    for line in lines:
        table.add_row(
            str(line.round_index),
            _share(line.heldout_pass_at_1, line.heldout_error),
            _share(line.heldout_gain, line.heldout_gain_error, signed=True),
            _share(line.other_pass_at_1),
            f"{line.kept:,} ({line.kept_share:.0%})",
            f"{line.cut:,}",
            f"{line.kept_per_1000_tokens:.2f}",
            line.engine,
            line.rewards or "–",
            *(["–" if line.staleness is None else str(line.staleness)] if shows_staleness else []),
        )
    return table


def _share(value: float | None, error: float | None = None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.1%}" + (f" ±{error:.1%}" if error is not None else "")
