"""Runs `berry status`: says what a run is doing, from another terminal or another machine."""

from __future__ import annotations

from typing import Annotated

import typer


def status(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False,
    watch: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Look again this often, until the run ends.", min=0.5)
    ] = None,
) -> None:
    """Show state, progress, rates and last notes of a run.

    They are read from its directory: the driver need not be on this machine and is not asked.

    Examples:

      berry status runs/demo

      berry status s3://bucket/runs/big --watch 10
    """
    import json
    import time

    from rich.console import Console

    from berry.pipeline.report.status import gather, lines, table
    from berry.pipeline.storage.run.directory import open_run

    run = open_run(run_dir)
    console = Console(soft_wrap=True, highlight=False)
    while True:
        gathered = gather(run, now=time.time())
        if as_json:
            typer.echo(json.dumps(gathered))
        else:
            console.print(table(gathered, run_dir))
            for text in lines(gathered):
                console.print(text, markup=False)
        if watch is None or gathered["state"] != "running":
            return
        time.sleep(watch)
