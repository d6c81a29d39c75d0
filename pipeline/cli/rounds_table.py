"""Draws the table of a run's rounds beside each other, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from berry.pipeline.report.rounds import RoundLine


def rounds_table(lines: Sequence[RoundLine]) -> Any:
    from rich.table import Table

    title = f"rounds; pass@1 on {lines[0].heldout_problems} problems held out from all training"
    names = ("round", "held out", "others", "kept", "cut", "kept / 1,000 tokens", "generator", "reward models")
    table = Table(*names, title=title, title_justify="left", box=None, header_style="bold")
    for line in lines:
        table.add_row(
            str(line.round_index),
            _share(line.heldout_pass_at_1),
            _share(line.other_pass_at_1),
            f"{line.kept:,} ({line.kept_share:.0%})",
            f"{line.cut:,}",
            f"{line.kept_per_1000_tokens:.2f}",
            line.engine,
            line.rewards or "–",
        )
    return table


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
