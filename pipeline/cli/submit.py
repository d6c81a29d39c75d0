"""Runs `berry submit`: has `berry run` done as a job of a Ray cluster."""

from __future__ import annotations

from shlex import quote
from typing import Annotated

import typer


def submit(
    config: Annotated[str, typer.Argument(help="A YAML config, as for berry run.", metavar="CONFIG")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Change single keys, as for berry run.")
    ] = None,
    address: Annotated[
        str,
        typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The head's dashboard, for example http://127.0.0.1:8265."),
    ] = "http://127.0.0.1:8265",
    run_dir: Annotated[
        str | None,
        typer.Option("--run", metavar="DIR", help="Run directory that all nodes see: a URL or an absolute path."),
    ] = None,
    follow: Annotated[
        bool, typer.Option(help="Show what the job writes until it ends; else until it has accepted the configuration.")
    ] = True,
    with_code: Annotated[
        bool, typer.Option("--with-code", help="Send this copy of Berry along, before the one in the cluster's image.")
    ] = False,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="An environment variable for the job.")
    ] = None,
) -> None:
    """Check a configuration here, then run it on a Ray cluster as a job that outlives this command.

    Local problem files go along. The same command again resumes the run: committed work is never done twice. With
    --follow, Ctrl-C leaves the job running.

    Examples:

      berry submit configs/demo.yaml --address http://127.0.0.1:8265 --run s3://bucket/runs/demo

      berry submit configs/demo.yaml problems.0.count=64 --run /shared/runs/demo --no-follow
    """
    from berry.pipeline.cli.loading import load_run
    from berry.pipeline.errors import ConfigError
    from berry.pipeline.runtime.cluster import submit as submitting
    from berry.pipeline.runtime.display import STARTING_RAY

    loaded = load_run(config, overrides or [])
    location = run_dir or f"{loaded.storage.root.rstrip('/')}/{loaded.name}"
    variables: dict[str, str] = {}
    for pair in env or []:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ConfigError(f"--env {pair}: write NAME=VALUE")
        variables[name] = value
    client, job = submitting.submit(loaded, address=address, run_dir=location, with_code=with_code, env=variables)
    typer.echo(f"job {job}: berry status {quote(location)}    ray job stop {job} --address {address}", err=True)
    until, within_s = (None, float("inf")) if follow else (STARTING_RAY, submitting.ACCEPTED_WITHIN_S)
    try:
        ended = submitting.follow(client, job, lambda text: typer.echo(text, nl=False), until=until, within_s=within_s)
    except KeyboardInterrupt:
        typer.echo(f"\nthe job goes on: ray job logs -f {job} --address {address}", err=True)
        raise typer.Exit(130) from None
    if ended not in submitting.DONE:
        said = "goes on" if ended == "RUNNING" else f"is still {ended.lower()}: the cluster has not begun it"
        typer.echo(f"job {job} {said}", err=True)
        return
    typer.echo(f"job {job} has {ended.lower()}", err=True)
    if ended != "SUCCEEDED":
        raise typer.Exit(4)
