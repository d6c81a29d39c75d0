"""Draws the tables of what pruning buys, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from berry.pipeline.report.pruning import CutLine, StageLine


def stages_table(lines: Sequence[StageLine]) -> Any:
    """Draws how many trajectories each stage of pruning left, a row a round."""
    from rich.table import Table

    names = list(lines[0].left)
    table = Table(
        "round",
        "branches",
        *names,
        title="share of branches left after each stage",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    for line in lines:
        table.add_row(str(line.round_index), f"{line.branches:,}", *(f"{line.left[name]:.1%}" for name in names))
    return table


def cuts_table(lines: Sequence[CutLine]) -> Any:
    """Draws what in-loop cuts saved and lost, a row a round."""
    from rich.table import Table

    table = Table(
        "round",
        "cut",
        "given up",
        "of them failing",
        "failing in all",
        "tokens saved",
        "good lost",
        title=f"cuts held against the verifier on {lines[0].problems:,} problems whose trees were not pruned",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    for line in lines:
        table.add_row(
            str(line.round_index),
            line.cut,
            f"{line.given_up:,} of {line.leaves:,}",
            _share(line.precision),
            _share(line.failing),
            _share(line.tokens_saved),
            _share(line.good_lost),
        )
    return table


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
