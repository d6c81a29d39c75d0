"""Runs `berry annotate`: completions from the steps of a stored run's trajectories, as their labels."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.storage.run.directory import RunDir

CHANGEABLE = ("engine", "engines", "cluster", "verification", "problems")


def annotate(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]…",
            help="What to change of the run's configuration: the engine that completes, the cluster, verification.",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(help="shepherd: completions from every step; omega: binary search for the first wrong one."),
    ] = "shepherd",
    of: Annotated[
        str, typer.Option(help="Which trajectories: kept, dropped, all, or so many a problem, drawn at random.")
    ] = "4",
    completions: Annotated[int, typer.Option("--completions", "-k", help="Completions a step.", min=1)] = 8,
    rounds: Annotated[list[int] | None, typer.Option("--round", help="Only this round; may be repeated.")] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="Weights that complete: a folder, URL or name; default: those that each round was run with."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Of a run with several engines, the one that completes; another by engines.NAME={…}."),
    ] = None,
    prefixes: Annotated[
        str, typer.Option(help="ids: prefixes are completed as token ids; text: tokenised again, by any model.")
    ] = "ids",
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Its name: RUN/revisions/NAME.")] = "annotated",
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster (default: RAY_ADDRESS, else one is started here).")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Everything in this process, without Ray.")] = False,
) -> None:
    """Label the steps of a stored run without bias: complete them, check the completions, count how many pass.

    Any run can be labelled, whatever its search gave up or stopped early. The completions are new leaves of the same
    trees, sampled, checked, journalled and committed as in a run; the same command resumes. What comes out is a run
    like any other, RUN/revisions/NAME: inspect, show, export and train read it.

    Examples:

      berry annotate runs/demo --of kept -k 16

      berry annotate runs/beam --method omega --of dropped engine.max_num_seqs=256

      berry annotate runs/escalate --engine large --prefixes text

      berry export runs/demo/revisions/annotated --format prm
    """
    from berry.pipeline.cli.run import drive_and_report
    from berry.pipeline.runtime.driver.outcome import Launch
    from berry.pipeline.storage.files import under
    from berry.pipeline.storage.run.directory import REVISIONS, open_run

    asked: dict[str, Any] = {
        "method": method,
        "of": int(of) if of.isdigit() else of,
        "completions": completions,
        "rounds": sorted(set(rounds)) if rounds else None,
        "weights": weights,
        "engine": engine,
        "prefixes": prefixes,
    }
    config = _configured(open_run(run_dir), overrides or [], asked, run_dir)
    location = under(run_dir, f"{REVISIONS}/{name}")
    launch = Launch(run_dir=location, address=address, local=local)
    drive_and_report(config, launch, again=f"berry annotate {quote(run_dir)} …")


def _configured(source: RunDir, overrides: list[str], asked: dict[str, Any], run_dir: str) -> RunConfig:
    """The configuration of the source run, to label it. Raises ConfigError."""
    from berry.pipeline.config.reading.loading import apply_override, validate
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.config.sections.annotation import Annotation
    from berry.pipeline.errors import ConfigError

    annotation = validate(asked, Annotation, where="berry annotate")
    raw: dict[str, Any] = source.config() or {}
    for override in overrides:
        key = override.partition("=")[0].split(".")[0]
        if key not in CHANGEABLE:
            raise ConfigError(f"{override!r}: only {', '.join(CHANGEABLE)} can change for the completions of a run")
        apply_override(raw, override)
    if raw.get("engines"):
        raw.pop("engine", None)  # the first of them, as it was before it was changed
    raw["annotation"] = annotation.model_dump(mode="json")
    raw["storage"] = {**(raw.get("storage") or {}), "site": None}
    raw.pop("recompute", None)  # no log-probability is audited: what was sampled for training is not sampled here
    return validate(raw, RunConfig, where=f"{run_dir}/run.yaml")
