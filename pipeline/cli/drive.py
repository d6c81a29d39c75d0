"""Drives a run for a command: live progress, a summary at the end, and what to type where it was stopped."""

from __future__ import annotations

import typer

from berry.pipeline.cli.progress import make_display
from berry.pipeline.cli.summary import print_summary
from berry.pipeline.config.run import RunConfig
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.runtime.driver.signals import exit_code


def drive_and_report(config: RunConfig, launch: Launch, *, again: str) -> None:
    """Runs or resumes to the end. `again`: the command that goes on after a stop. Raises what the run raises, and
    typer.Exit where a signal stopped it."""
    with make_display() as display:
        outcome = run(config, launch, display)
    print_summary(outcome)
    if not outcome.finished:
        typer.echo(f"stopped before the end; go on with: {again}")
        raise typer.Exit(exit_code())
