"""Draws the table of a run's modes beside each other, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from berry.pipeline.report.modes import ModeLine


def modes_table(lines: Sequence[ModeLine]) -> Any:
    """A row a mode; no figure of it is of two. `tokens` are generated, with their share of the run's; `each` are those
    of a trajectory, in the mean."""
    from rich.table import Table

    names = ("mode", "problems", "solved", "trajectories", "passed", "kept", "tokens", "each", "pass@k")
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, min_width=len(name), overflow="fold")
    for line in lines:
        share = "" if line.share_of_tokens is None else f" ({line.share_of_tokens:.0%})"
        table.add_row(
            line.mode,
            f"{line.problems:,}",
            f"{line.solved:,}",
            f"{line.trajectories:,}",
            f"{line.passed:,}",
            f"{line.kept:,}",
            f"{line.generated:,}{share}",
            "–" if line.tokens_a_trajectory is None else f"{line.tokens_a_trajectory:.0f}",
            ", ".join(f"@{k} {rate:.0%}" for k, rate in line.pass_at.items()) or "–",
        )
    return table
