"""Runs `berry compact`: merges the files of a run's small leases."""

from __future__ import annotations

from typing import Annotated

import typer


def compact(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
) -> None:
    """Merge the files of small leases into few large ones, and store what earlier versions wrote as this one does.

    `berry run` does the same at the end of each round. Nothing is lost or doubled wherever it is stopped; to be stopped
    halfway costs time alone. Needs a run that no driver is at work on.

    Examples:

      berry compact runs/demo

      berry compact s3://bucket/runs/large
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    from berry.pipeline.cli.progress import progress_bar
    from berry.pipeline.stages.dataset.maintenance.compact import compact as merge
    from berry.pipeline.storage.run.directory import locked, open_run

    run = open_run(run_dir)
    columns = (TextColumn("rounds"), BarColumn(), MofNCompleteColumn())
    with locked(run), progress_bar(*columns) as bar:
        task = bar.add_task("rounds", total=len(run.rounds()))
        done = merge(run, lambda now, total: bar.update(task, completed=now, total=total))
    Console(soft_wrap=True, highlight=False).print(
        f"{done.files_before:,} sets of files became {done.files_after:,}: {done.bytes_before / 1e6:,.2f} MB, now "
        f"{done.bytes_after / 1e6:,.2f} MB"
    )
