"""Runs `berry inspect`: counts what a run holds, from its Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from berry.pipeline.cli.prose import print_prose

if TYPE_CHECKING:
    from rich.table import Table


def inspect(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    sql: Annotated[
        str | None,
        typer.Option(help="A DuckDB query over the views nodes, trajectories and kept (docs/data.md)."),
    ] = None,
    top: Annotated[int, typer.Option(help="How many of the best and worst problems to list.", min=0)] = 5,
) -> None:
    """Count what a run holds: what was kept and why the rest was not, pass@k, tokens, best and worst problems.

    Examples:

      berry inspect runs/demo

      berry inspect runs/demo --sql "select problem_id, avg(n_tokens) from trajectories group by 1"
    """
    from rich.console import Console

    from berry.pipeline.cli.modes_table import modes_table
    from berry.pipeline.cli.problems_table import problems_table
    from berry.pipeline.cli.progress import working
    from berry.pipeline.cli.pruning_table import cuts_table, stages_table
    from berry.pipeline.cli.rounds_table import rounds_table
    from berry.pipeline.cli.summary import counts_table, print_screening, title
    from berry.pipeline.errors import InputError
    from berry.pipeline.report.balance import story
    from berry.pipeline.report.pruning import cut_lines, stage_lines
    from berry.pipeline.report.rounds import rounds_by_mode
    from berry.pipeline.report.summary import summarise
    from berry.pipeline.stages.dataset.text_views import connect
    from berry.pipeline.storage.run.directory import open_run

    run = open_run(run_dir)
    console = Console()
    if sql is not None:
        import duckdb

        try:
            with working("asking DuckDB"):
                result = connect(run).execute(sql)
                names, rows = [column[0] for column in result.description or []], result.fetchall()
        except duckdb.Error as error:
            raise InputError(f"--sql: {error}") from error
        console.print(query_table(names, rows, console.width))
        return
    with working("counting trajectories") as now_at:
        summary = summarise(run)
        now_at("following rounds")
        rounds = rounds_by_mode(run) if len(run.rounds()) > 1 else []
        balanced = story(run)
        now_at("following what was pruned")
        pruning, cuts = stage_lines(run), cut_lines(run)
    console.print(counts_table(summary, title=title(run.config() or {}, run_dir)))
    if summary.modes:
        console.print(modes_table(summary.modes))
    print_screening(run, console)
    for mode, lines in rounds:
        console.print(rounds_table(lines, mode))
    if balanced is not None:
        print_prose(console, f"balance  {balanced.line}")
    if pruning:
        console.print(stages_table(pruning))
    if cuts:
        console.print(cuts_table(cuts))
    if summary.lines and top:
        console.print(problems_table(summary.lines, top))


LEAST_COLUMN = 9  # characters, with the gap behind it


def query_table(names: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> Table:
    """What a query found, a line a row; where so many columns do not fit, a line a value, and a gap between rows."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    if len(names) * LEAST_COLUMN <= width:
        table = Table(*map(escape, names), box=None, header_style="bold")
        for row in rows:
            table.add_row(*(Text(str(value)) for value in row))
        return table
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True, min_width=max(map(len, names)))
    table.add_column(no_wrap=True)
    for number, row in enumerate(rows):
        if number:
            table.add_row()
        for name, value in zip(names, row, strict=True):
            table.add_row(Text(name), Text(" ".join(str(value).split()), overflow="ellipsis"))
    return table
