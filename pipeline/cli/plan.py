"""Runs `berry plan`: says what a run would do on each cluster, before a GPU hour is spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from berry.pipeline.cli.prose import print_prose

if TYPE_CHECKING:
    from rich.console import Console

    from berry.pipeline.config.plan import PlanConfig
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.config.sections.cluster import Cluster
    from berry.pipeline.report.plan_page import PlanReport


def plan(
    config: Annotated[str, typer.Argument(help="A plan (configs/plans/…) or a run's config.", metavar="CONFIG")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]…", help="Change single keys, for example workload.weights=fp8."),
    ] = None,
    cluster: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A cluster of configs/clusters, or a YAML path; repeat to compare.",
            autocompletion=lambda: _shipped("clusters"),
        ),
    ] = None,
    prices: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A sheet of configs/prices, or a YAML path.",
            autocompletion=lambda: _shipped("prices"),
        ),
    ] = None,
    calibrate: Annotated[
        str | None, typer.Option(metavar="RUN", help="Set lengths, times and speed from this finished run.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write plan.png and plan.html here.")] = None,
) -> None:
    """Foretell what a run would do on each cluster: speed, what binds, sandboxes needed, idle GPUs, hours and cost.

    A run on a hosted API (engine.dialect chat) is told its requests, tokens, cost and least time.

    What the configuration does not say is assumed and listed; --calibrate takes it from a finished run instead.

    Examples:

      berry plan configs/plans/half-code.yaml

      berry plan configs/plans/code-only.yaml --cluster trainium2 --cluster h100-cpu --out plan/

      berry plan configs/demo.yaml --cluster local --calibrate runs/demo
    """
    from rich.console import Console

    from berry.pipeline.cli.progress import working

    if cluster is None and calibrate is None and _show_hosted(config, overrides or [], Console()):
        return
    with working("planning"):
        report = build(config, overrides or [], cluster or [], prices=prices, run=calibrate)
    console = Console()
    show(report, console)
    if out is not None:
        write(report, out, console)


def _show_hosted(config: str, overrides: list[str], console: Console) -> bool:
    """Prints what a run on a hosted API takes; False, and nothing is printed, for every other configuration."""
    from berry.pipeline.config.reading.loading import load, read_yaml
    from berry.pipeline.config.run import RunConfig

    raw = read_yaml(Path(config)).get("engine")
    if not (isinstance(raw, dict) and "chat" in (raw.get("dialect"), *_values(overrides, "engine.dialect"))):
        return False
    from berry.pipeline.planning.hosted import hosted_plan

    run = load(config, overrides, RunConfig)
    if not run.text_alone:
        return False
    found = hosted_plan(run)
    hours = "no limit is configured" if found.hours is None else f"at least {found.hours:,.2f} h: {found.binds} binds"
    lines = {
        "requests": f"{found.requests:,}",
        "tokens": f"{found.prompt_tokens:,.0f} of prompts, {found.completion_tokens:,.0f} generated",
        "cost": "unknown: set engine.price"
        if found.cost_usd is None
        else f"${found.cost_usd:,.2f}; ${found.at_most_usd:,.2f} if every answer is as long as it may be",
        "time": hours,
        "assumed": "; ".join(found.assumed),
    }
    for name, text in lines.items():
        print_prose(console, f"{name:9} {text}")
    return True


def _values(overrides: list[str], key: str) -> list[str]:
    return [value for name, _, value in (override.partition("=") for override in overrides) if name == key]


def _shipped(kind: str) -> list[str]:
    """Names to complete on the command line."""
    from berry.pipeline.config.reading.shipped import names

    return names(kind)


def build(config: str, overrides: list[str], clusters: list[str], *, prices: str | None, run: str | None) -> PlanReport:
    """Plans a workload on each cluster. Raises ConfigError; with several clusters, one that can't is
    reported."""
    from berry.pipeline.core.placement import place_actors
    from berry.pipeline.errors import ConfigError
    from berry.pipeline.planning.advice import advise
    from berry.pipeline.planning.capacity import plan as make_plan
    from berry.pipeline.planning.modes import summed
    from berry.pipeline.planning.several_engines import ModePlan, cluster_of, together
    from berry.pipeline.planning.sheets import prices as price_sheet
    from berry.pipeline.planning.training import training_plan
    from berry.pipeline.report.plan_page import PlanReport

    modes, named, own, notes, ran = _load(config, overrides, clusters)
    several = ran if ran is not None and ran.engines else None
    planned = modes[0][1]
    if run is not None and len(modes) > 1:
        raise ConfigError(f"--calibrate {run}: a run with modes is planned by the lengths of each: leave it out")
    if run is not None:
        planned, more = _calibrated(planned, run)
        modes = [(modes[0][0], planned)]
        notes = [n for n in notes if "assumed" not in n] + more
    engine_of = {} if several is None else {name: name for name in several.engines}
    engine_of |= {} if several is None else {mode.name: mode.engine or "" for mode in several.rollout.modes}
    sheet = price_sheet(prices or planned.prices)
    plans, headings, sums, refused = [], [], [], []
    for target in [own] if own is not None and not clusters else named:
        try:
            if several is None:
                place_actors(target)
            made = [
                make_plan(
                    one.workload,
                    target if several is None else cluster_of(engine_of[mode or ""], target, several.engine_roles),
                    sheet,
                    one.calibration,
                )
                for mode, one in modes
            ]
            plans += made
            headings += [target.name if mode is None else f"{target.name}: {mode}" for mode, _ in modes]
            if several is not None:
                named_plans = zip((mode or "" for mode, _ in modes), made, strict=True)
                sums.append(
                    (target.name, together(several, [ModePlan(m, engine_of[m], its) for m, its in named_plans]))
                )
            elif len(modes) > 1:
                sums.append((target.name, summed(made)))
        except ConfigError as error:
            if len(named) <= 1:
                raise
            refused.append((target.name, str(error)))
    if not plans:
        raise ConfigError("no cluster can do this:\n" + "\n".join(f"{n}: {why}" for n, why in refused))
    return PlanReport(
        title=f"Plan: {planned.name}",
        plans=plans,
        advice=[advise(p, sheet) for p in plans],
        refused=refused,
        notes=[f"Calibration: {planned.calibration.source}", f"prices: {sheet.name}", *notes],
        headings=headings,
        sums=sums,
        trainings=[training_plan(ran, p) if ran is not None and len(modes) == 1 else None for p in plans],
    )


def _load(
    config: str, overrides: list[str], clusters: list[str]
) -> tuple[list[tuple[str | None, PlanConfig]], list[Cluster], Cluster | None, list[str], RunConfig | None]:
    """The plan's configuration, that of each mode where the run has some, the clusters named, the config's own cluster,
    what was assumed, and the run where it is one's configuration."""
    from berry.pipeline.config.plan import PlanConfig
    from berry.pipeline.config.reading.loading import apply_override, load, read_yaml, validate
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.config.sections.cluster import named_cluster
    from berry.pipeline.planning.modes import SUM_NOTE, workloads
    from berry.pipeline.planning.runs import never_measured
    from berry.pipeline.planning.several_engines import TOGETHER_NOTE, going_on

    if "workload" in read_yaml(Path(config)):
        plan_file = load(config, overrides, PlanConfig)
        return [(None, plan_file)], [named_cluster(n) for n in clusters or plan_file.clusters], None, [], None
    mine = [o for o in overrides if not o.startswith(("workload.", "calibration."))]
    run = load(config, mine, RunConfig)
    planned: list[tuple[str | None, PlanConfig]] = []
    notes: list[str] = []
    modes = {mode.name for mode in run.rollout.modes}
    known = modes | set(run.engines)
    for one in workloads(run):
        raw = {"name": run.name, "workload": one.workload.model_dump()}
        for override in overrides:
            of_mode = f"workload.{one.mode}."
            if one.mode is not None and override.startswith(of_mode):
                apply_override(raw, f"workload.{override.removeprefix(of_mode)}")
            elif override not in mine and override.split(".")[1] not in known:
                apply_override(raw, override)
        planned.append((one.mode, validate(raw, PlanConfig, where=config)))
        of = "" if one.mode is None else f" of mode {one.mode}"
        notes.append(f"assumed{of}: " + "; ".join(one.assumed))
        rollout = run.rollout.in_mode(one.mode) if one.mode in modes else run.rollout
        lasting = list(never_measured(rollout))
        if lasting:
            notes.append(f"taken for granted{of}, measured or not: " + "; ".join(lasting))
    planned = going_on(run, planned)
    if run.rollout.modes:
        notes.append(TOGETHER_NOTE if run.engines else SUM_NOTE)
    return planned, [named_cluster(n) for n in clusters], run.cluster, notes, run


def _calibrated(planned: PlanConfig, location: str) -> tuple[PlanConfig, list[str]]:
    from berry.pipeline.config.reading.loading import validate
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.planning import runs
    from berry.pipeline.storage.run.directory import open_run

    directory = open_run(location)
    seen = runs.measure(directory)
    stored = validate(directory.config() or {}, RunConfig, where=f"{location}/run.yaml")
    done = runs.measured_workload(runs.workload_of(stored)[0], seen)
    calibration = runs.calibrate(done, stored.cluster, seen, planned.calibration, location=location)
    problems = planned.workload.problems
    workload = runs.measured_workload(planned.workload, seen).model_copy(update={"problems": problems})
    sheet = f"what the {calibration.device} sheet says" if calibration.device else "the set pace"
    passing = "no unbiased pass rate" if seen.pass_rate is None else f"a pass rate of {seen.pass_rate:.0%}"
    note = (
        f"from {location}: {seen.trajectories:,} trajectories of {seen.output_tokens:.0f} tokens, "
        f"{passing}, checks {seen.verify_mean_ms or 0:.1f} ms with their queue; engines run at "
        f"{calibration.engine_scale:.2f} × {sheet}"
    )
    notes = [note]
    if unseen := runs.not_seen(planned.workload, seen):
        notes.append(f"checks of {', '.join(unseen)} were not in {location}: their time stays assumed")
    return planned.model_copy(update={"workload": workload, "calibration": calibration}), notes


def show(report: PlanReport, console: Console) -> None:
    """Prints a plan: its figures cluster by cluster, what binds, and what changes would give."""
    from rich.table import Table

    from berry.pipeline.report.plan_page import advice_line

    table = Table(title=report.title, title_justify="left", header_style="bold")
    table.add_column("")
    named = report.columns
    columns = [dict(figures) for _, figures in named]
    for heading, _ in named:
        table.add_column(heading, overflow="fold")
    for label in dict.fromkeys(label for column in columns for label in column):
        style = "bold" if label in ("binding", "GPU idle share", "slots needed") else None
        table.add_row(label, *(column.get(label, "") for column in columns), style=style)
    console.print(table)
    for (heading, _), p, changes in zip(named, report.plans, report.advice, strict=False):
        console.print(f"[bold]{heading}[/]: {p.binding.value} binds. What to change:")
        for change in changes:
            print_prose(console, f"  {advice_line(change)}")
        if not changes:
            console.print("  nothing tried makes it 2% faster or cheaper")
    for name, why in report.refused:
        console.print(f"[bold red]{name} can't do it[/]: ", end="")
        console.print(why, markup=False, highlight=False, soft_wrap=True)
    print_prose(console, "A prediction. " + ". ".join(report.notes))


def write(report: PlanReport, out: Path, console: Console) -> None:
    """Writes a plan as a picture and a page into the folder `out`. Raises StorageError."""
    from berry.pipeline.errors import StorageError
    from berry.pipeline.report.pictures.plots import as_svg, draw_plans, save_png
    from berry.pipeline.report.plan_page import write_page

    try:
        out.mkdir(parents=True, exist_ok=True)
        figure = draw_plans(report.plans, report.title)
        save_png(figure, out / "plan.png")
        write_page(report, as_svg(figure), out / "plan.html")
    except OSError as error:
        raise StorageError(f"{out}: can't be written ({error.strerror}); choose another --out") from error
    console.print(f"pictures: {out / 'plan.png'} and {out / 'plan.html'}", highlight=False, soft_wrap=True)
