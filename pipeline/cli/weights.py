"""Runs `berry weights`: gives a run new weights from outside, as an RL trainer would."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    help="Look at, or replace, the weights that a run's engines and reward models have.", no_args_is_help=True
)


@app.command("push")
def push_weights(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory, running or not.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder with weights of the same architecture.")],
    what: Annotated[str, typer.Option("--what", help="policy (the generator), prm or orm.")] = "policy",
    engine: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a run with several engines, the one whose weights they are.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of rewards.models, the one whose weights they are.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Recorded with every node; default: from the content.")] = None,
) -> None:
    """Give a run new weights: they are copied into its directory and served from there.

    A running `berry run` loads them within seconds, without a restart; what is in flight ends on the old ones. A later
    run of the same directory starts with them.

    Examples:

      berry weights push runs/demo checkpoints/step-200

      berry weights push runs/demo runs/other/round=0/weights/prm --what prm

      berry weights push runs/demo runs/other/round=0/weights/prm --what prm --name strict
    """
    from berry.pipeline.stages.training.push_weights import push_weights
    from berry.pipeline.storage.run.directory import open_run

    done = push_weights(open_run(run_dir), path, what=what, version=version, engine=engine, name=name)
    typer.echo(f"{done.version}: serves from {done.folder} on")


@app.command("show")
def show(run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL.")]) -> None:
    """Show which weights serve now."""
    from berry.pipeline.storage.run.directory import open_run
    from berry.pipeline.storage.run.weights_file import read_weights

    run = open_run(run_dir)
    now = read_weights(run.location)
    typer.echo(f"round      {now.round_index}")
    config = run.config() or {}
    for name in config.get("engines") or ("",):
        its = now.of_engine(name)
        typer.echo(f"{name or 'generator':9}  {its.version if its else 'as configured'}")
    named: set[str] = {*now.rewards, *((config.get("rewards") or {}).get("models") or {})}
    for name in sorted(named):
        its = now.rewards.get(name)
        typer.echo(f"{name:9}  {its.version if its else 'as configured'}")
