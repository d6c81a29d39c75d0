"""Draws the table of a run's best and worst problems, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from berry.pipeline.records import Ending
from berry.pipeline.report.summary import ProblemLine


def problems_table(lines: Sequence[ProblemLine], top: int) -> Any:
    """The `top` problems of highest and of lowest share of passes among their verdicts, those without a verdict last. A
    column for each way in which trajectories came out, so that what was not checked does not look wrong."""
    from rich.table import Table

    ordered = sorted(
        lines, key=lambda line: (-1.0 if line.share_passed is None else -line.share_passed, line.problem_id)
    )
    ordered.sort(key=lambda line: line.share_passed is None)
    shown = ordered if len(ordered) <= 2 * top else [*ordered[:top], *ordered[-top:]]
    outcomes = [name for name in Ending if any(name in line.outcomes for line in lines)]
    table = Table("problem", *(name.replace("_", " ") for name in outcomes), "kept", "tokens", box=None)
    table.header_style = "bold"
    for line in shown:
        counts = (f"{line.outcomes.get(name, 0):,}" for name in outcomes)
        table.add_row(line.problem_id, *counts, f"{line.kept:,}", f"{line.tokens:,}")
    return table
