"""Runs `berry run --dry-run`: every check that comes before a start, and nothing else."""

from __future__ import annotations

import typer

from berry.pipeline.config import run as run_config
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.modes import explain_modes
from berry.pipeline.core.placement import place_actors
from berry.pipeline.engines.preflight import check_each_engine
from berry.pipeline.stages.leases.partition import survey_run
from berry.pipeline.stages.problems.screening import explain_screening
from berry.pipeline.stages.tools.preflight import check_interaction
from berry.pipeline.stages.tools.programs import fault_in_mode


def check_only(config: RunConfig) -> None:
    """Prints the configuration and what would run. Raises what `berry run` would raise."""
    surveyed = survey_run(config, fault_in_mode(config))
    planned = place_actors(config.cluster, config.engine_roles)
    check_each_engine(config)
    untried = check_interaction(config, surveyed.by_verifier)
    typer.echo(run_config.dump(config), nl=False)
    if untried is not None:
        typer.echo(f"# {untried}")
    if config.rollout.modes:
        typer.echo(f"# modes: {explain_modes(config, surveyed.count)}")
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(surveyed.by_verifier.items()))
    typer.echo(f"# screened: {explain_screening(surveyed.screening)}")
    typer.echo(
        f"# {surveyed.count} problems ({kinds}); {planned.rollout.actors} engine(s), "
        f"{planned.sandbox.actors} sandbox actor(s) with {planned.sandbox.total_slots} slots; nothing was started"
    )
