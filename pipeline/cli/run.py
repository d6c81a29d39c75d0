"""Runs `berry run`: starts or resumes a run, with live progress."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.runtime.driver.outcome import Launch


def run(
    config: Annotated[str, typer.Argument(help="A YAML config, for example configs/demo.yaml.", metavar="CONFIG")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]…", help="Change single keys, for example seed=7 engine.max_num_seqs=16."),
    ] = None,
    run_dir: Annotated[
        str | None,
        typer.Option("--run", metavar="DIR", help="Run directory or URL; default: storage.root/NAME."),
    ] = None,
    fork: Annotated[
        str | None, typer.Option(metavar="NAME", help="Start a new run of this name instead of resuming.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster (default: RAY_ADDRESS, else one is started here for the run)."),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Everything in this process, without Ray: for debugging.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the full configuration, start nothing.")
    ] = False,
) -> None:
    """Grow trees over problems, check, prune, and write kept trajectories as Parquet.

    The same command on an existing run directory resumes it: committed work is never done again. Ctrl-C stops within
    seconds and loses nothing: trees in flight are journalled and go on.

    Examples:

      berry run configs/demo.yaml

      berry run configs/tiny.yaml problems.0.count=16 seed=2 --run runs/tiny16
    """
    from berry.pipeline.cli.loading import load_run

    loaded = load_run(config, overrides or [], name=fork)
    from berry.pipeline.errors import ConfigError
    from berry.pipeline.storage.files import under

    if loaded.annotation is not None:
        raise ConfigError(f"{config}: the section annotation is for labels of a stored run: use `berry annotate RUN`")
    location = run_dir or under(loaded.storage.root, loaded.name)
    if dry_run:
        from berry.pipeline.cli.checking import check_only

        check_only(loaded)
        return
    from berry.pipeline.runtime.driver.outcome import Launch

    launch = Launch(run_dir=location, address=address, local=local)
    drive_and_report(loaded, launch, again=f"berry run {quote(config)} … --run {quote(location)}")


def drive_and_report(config: RunConfig, launch: Launch, *, again: str) -> None:
    """Runs or resumes to the end, with live progress and a summary. `again`: the command that goes on after a stop.
    Raises what the run raises, and typer.Exit where a signal stopped it."""
    from berry.pipeline.cli.progress import make_display
    from berry.pipeline.cli.summary import print_summary
    from berry.pipeline.runtime.driver.run import run as drive
    from berry.pipeline.runtime.driver.signals import exit_code

    with make_display() as display:
        outcome = drive(config, launch, display)
    print_summary(outcome)
    if not outcome.finished:
        typer.echo(f"stopped before the end; go on with: {again}")
        raise typer.Exit(exit_code())
