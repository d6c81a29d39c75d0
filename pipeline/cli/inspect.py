"""Runs `berry inspect`: counts what a run holds, from its Parquet."""

from __future__ import annotations

from typing import Annotated

import typer


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
    from rich.table import Table

    from berry.pipeline.cli.problems_table import problems_table
    from berry.pipeline.cli.pruning_table import cuts_table, stages_table
    from berry.pipeline.cli.summary import counts_table, print_screening, title
    from berry.pipeline.errors import InputError
    from berry.pipeline.report.balance import story
    from berry.pipeline.report.pruning import cut_lines, stage_lines
    from berry.pipeline.report.summary import summarise
    from berry.pipeline.stages.dataset.text_views import connect
    from berry.pipeline.storage.run.directory import open_run

    run = open_run(run_dir)
    console = Console()
    if sql is not None:
        import duckdb

        try:
            result = connect(run).execute(sql)
        except duckdb.Error as error:
            raise InputError(f"--sql: {error}") from error
        names = [column[0] for column in result.description or []]
        table = Table(*names, box=None, header_style="bold")
        for row in result.fetchall():
            table.add_row(*(str(value) for value in row))
        console.print(table)
        return
    summary = summarise(run)
    stored = run.config() or {}
    console.print(counts_table(summary, title=title(stored, run_dir)))
    if summary.modes:
        from berry.pipeline.cli.modes_table import modes_table

        console.print(modes_table(summary.modes))
    print_screening(run, console)
    if len(run.rounds()) > 1:
        from berry.pipeline.cli.rounds_table import rounds_table
        from berry.pipeline.report.rounds import rounds_by_mode

        for mode, lines in rounds_by_mode(run):
            console.print(rounds_table(lines, mode))
    balanced = story(run)
    if balanced is not None:
        console.print(f"balance  {balanced.line}", markup=False, highlight=False, soft_wrap=True)
    pruning = stage_lines(run)
    if pruning:
        console.print(stages_table(pruning))
    cuts = cut_lines(run)
    if cuts:
        console.print(cuts_table(cuts))
    if not summary.lines or not top:
        return
    console.print(problems_table(summary.lines, top))
