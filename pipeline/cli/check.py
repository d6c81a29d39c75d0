"""Runs `berry check`: says whether all that a run has committed is still what was written."""

from __future__ import annotations

from shlex import quote
from typing import Annotated

import typer


def check(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Take damaged leases out, to RUN/damaged/, so that they are made again."),
    ] = False,
    distrust: Annotated[
        list[str] | None,
        typer.Option(metavar="ENGINE", help="Count what this engine made as damaged, for example rollout-1."),
    ] = None,
) -> None:
    """Check that every committed file of a run is still what was written.

    Page checksums, schemas, ids and counts are held against each other and against the problems that were handed out.

    Ends with status 0 when all is whole, 3 when something is damaged. A run that goes on may be checked; it can be
    repaired only when it has stopped.

    Examples:

      berry check runs/demo

      berry check runs/demo --repair && berry run configs/demo.yaml

      berry check runs/demo --distrust rollout-1 --repair
    """
    import sys
    from contextlib import nullcontext

    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.table import Table

    from berry.pipeline.cli.progress import progress_bar
    from berry.pipeline.stages.dataset.maintenance.repair import check_run
    from berry.pipeline.stages.dataset.maintenance.repair import repair as repair_run
    from berry.pipeline.storage.run.directory import locked, open_run

    run = open_run(run_dir)
    columns = (TextColumn("leases"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    folder = None
    with locked(run) if repair else nullcontext():
        with progress_bar(*columns) as bar:
            task = bar.add_task("leases", total=None)
            report = check_run(
                run, lambda done, total: bar.update(task, completed=done, total=total), distrust=distrust or ()
            )
        if repair:
            folder = repair_run(run, report)
    console = Console(soft_wrap=True, highlight=False)
    if report.faults:
        table = Table("round", "lease", "kind", "file", "what", box=None, header_style="bold", padding=(0, 2, 0, 0))
        for fault in report.faults:
            words = (
                str(fault.round_index),
                str(fault.lease),
                fault.kind.value,
                fault.table or "–",
                escape(fault.detail),
            )
            table.add_row(*words)
        console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
    rows = ", ".join(f"{count:,} {name}" for name, count in report.rows.items()) or "no rows"
    console.print(f"{report.leases:,} leases: {rows}, {report.size_bytes / 1e6:,.1f} MB")
    if not report.faults:
        console.print("whole")
        return
    count = len(report.damaged)
    if folder is None:
        console.print(
            f"[bold]{count} damaged[/]: berry check {quote(run_dir)} --repair takes them out, to be made again"
        )
        sys.stdout.flush()
        raise typer.Exit(3)
    console.print(f"{count} taken out to {run_dir}/{folder}: the command that made this directory makes them again")
