"""Runs `berry sweep`: measures the same work under several settings and draws it beside the plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from berry.pipeline.cli.prose import print_prose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from berry.pipeline.cli.sweep_runs import Sweep
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.planning.sweeps import Point, Setting
    from berry.pipeline.report.sweep_page import SweepReport


def sweep(
    config: Annotated[str, typer.Argument(help="A run's config, for example configs/sweep.yaml.", metavar="CONFIG")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Change single keys for all settings.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=a,b,c", help="Values to try; the first key is the axis, more make one curve each."),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=100, help="Runs of each setting.")] = 1,
    seconds: Annotated[
        float, typer.Option(min=1, help="Steady state to measure in each run, in s; the run is stopped after it.")
    ] = 30.0,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Results; default: sweeps/NAME.")] = None,
    calibrate: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Calibrate the plan from this run; default: the sweep's own in the middle."),
    ] = None,
    prices: Annotated[str | None, typer.Option(metavar="NAME", help="A sheet of configs/prices, or a path.")] = "list",
    address: Annotated[str | None, typer.Option(help="A Ray cluster, as for berry run.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Everything in this process, without Ray.")] = False,
) -> None:
    """Measure speed, waits and cost against the GPU:CPU ratio (or any key), and pick the knee.

    Each run does the same seeded work and is stopped when its steady state was measured. The same command goes on
    where it was stopped. Results: sweep.parquet, sweep.png and sweep.html in the folder.

    Examples:

      berry sweep configs/sweep.yaml --vary cluster.ratio=1,2,4,6,8 --seconds 8 --local

      berry sweep configs/sweep.yaml --vary cluster.ratio=1,2,4 --vary engine.tokens_per_s=100,200 --repeat 3
    """
    from rich.console import Console

    from berry.pipeline.cli.loading import load_run
    from berry.pipeline.cli.progress import make_display
    from berry.pipeline.cli.sweep_runs import Sweep, run_all
    from berry.pipeline.errors import ConfigError
    from berry.pipeline.planning import sweep_file
    from berry.pipeline.planning.sheets import prices as price_sheet
    from berry.pipeline.planning.sweeps import parse_vary
    from berry.pipeline.runtime.driver.signals import exit_code
    from berry.pipeline.storage.files import locate

    settings = parse_vary(vary or [])
    base = load_run(config, overrides or [], name=None)
    if base.rollout.modes and calibrate is not None:
        raise ConfigError(
            f"--calibrate {calibrate}: a run with modes or several engines is not planned beside: leave it out"
        )

    def config_of(setting: Setting) -> RunConfig:
        return load_run(config, [*(overrides or []), *setting.overrides], name=None)

    place = out or Path("sweeps") / base.name
    location = locate(place)
    sheet = price_sheet(prices) if prices else None
    plan = Sweep(base, config_of, settings, repeat, seconds, sheet, address, local)
    with make_display() as display:
        points, whole = run_all(plan, location, display)
    if not whole:
        typer.echo(f"stopped before the end, {len(points)} runs are measured; the same command goes on")
        raise typer.Exit(exit_code())
    console = Console()
    middle = next(p for p in points if p.setting == settings[len(settings) // 2].name)
    report = _report(plan, points, calibrate or location.path(middle.run), own="" if calibrate else middle.setting)
    sweep_file.write(location, report.points, sweep_file.shared_of(base, seconds))
    _show(report, console)
    _write(report, settings, place, console)


def _report(plan: Sweep, points: Sequence[Point], run: str, *, own: str) -> SweepReport:
    """The points with what the plan, calibrated from `run`, says of each."""
    from dataclasses import replace

    from berry.pipeline.config.plan import Calibration
    from berry.pipeline.config.reading.loading import validate
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.planning import runs
    from berry.pipeline.planning.sweeps import expected, knees, planned
    from berry.pipeline.report.sweep_page import SweepReport
    from berry.pipeline.storage.run.directory import open_run

    axis = plan.settings[0].values[0][0]
    label = f"{axis} (sandbox slots an engine)" if axis == "cluster.ratio" else axis
    if plan.config.rollout.modes:
        return SweepReport(
            title=_title(plan, points),
            axis=label,
            points=points,
            knees=knees(points, axis),
            notes=[
                _measured(plan, points),
                "Without a plan beside: each mode and engine is a workload of its own, which `berry plan` sums",
                *_shares(points),
                _priced(plan),
            ],
        )
    directory = open_run(run)
    stored = validate(directory.config() or {}, RunConfig, where=f"{run}/run.yaml")
    seen = runs.measure(directory)
    workload = runs.measured_workload(runs.workload_of(stored, {"measured": seen.problems})[0], seen)
    calibration = runs.calibrate(workload, stored.cluster, seen, Calibration(), location=run)
    told = {}
    for setting in plan.settings:
        told[setting.name] = expected(planned(plan.config_of(setting), seen, calibration, plan.prices))
    return SweepReport(
        title=_title(plan, points),
        axis=label,
        points=[replace(p, expected=told[p.setting]) for p in points],
        knees=knees([replace(p, expected=told[p.setting]) for p in points], axis),
        notes=[
            _measured(plan, points),
            "The plan is calibrated from one run: " + (f"the sweep's own, {own}" if own else run),
            _priced(plan),
        ],
    )


def _title(plan: Sweep, points: Sequence[Point]) -> str:
    return f"Sweep: {plan.config.name}" + (" — SYNTHETIC engine, GPU time simulated" if points[0].synthetic else "")


def _measured(plan: Sweep, points: Sequence[Point]) -> str:
    return f"{len(points)} runs of {len(plan.settings)} settings, {plan.measure_s:g} s of steady state each"


def _priced(plan: Sweep) -> str:
    return f"prices: {plan.prices.name}" if plan.prices else "no price sheet"


def _shares(points: Sequence[Point]) -> list[str]:
    """Says of each setting which share of the tokens its engines had generated at the last commit, where there are
    several."""
    import json

    told = {}
    for point in points:
        engines = json.loads(point.figures).get("engines") or {}
        total = sum(its["generated"] for its in engines.values())
        if total:
            parts = ", ".join(f"{name} {its['generated'] / total:.0%}" for name, its in engines.items())
            told.setdefault(point.setting, f"Of the tokens at {point.setting}, run {point.repeat + 1}: {parts}")
    return list(told.values())


def settings_table(report: SweepReport) -> Any:
    """Draws a row a setting, with what a terminal of 80 columns has room for."""
    from rich.table import Table

    from berry.pipeline.report.sweep_page import COLUMNS, NARROW, rows

    table = Table(title=report.title, title_justify="left", header_style="bold", box=None, padding=(0, 1, 0, 0))
    for i in NARROW:
        heading = COLUMNS[i].replace(" ", "\n")  # so that columns are as wide as their figures
        table.add_column(heading, justify="right" if i else "left", overflow="fold")
    for row in rows(report.points):
        table.add_row(*(row[i] for i in NARROW))
    return table


def _show(report: SweepReport, console: Console) -> None:
    from berry.pipeline.report.sweep_page import agreement

    console.print(settings_table(report))
    for knee in report.knees:
        name = f"{knee.series}: " if knee.series else ""
        print_prose(console, f"knee: {name}{knee.reason}")
    compared = agreement(report.points)
    if compared is not None:
        console.print(compared, highlight=False, soft_wrap=True)
    print_prose(console, ". ".join(report.notes))


def _write(report: SweepReport, settings: Sequence[Setting], out: Path, console: Console) -> None:
    from berry.pipeline.errors import StorageError
    from berry.pipeline.planning.sweeps import categories
    from berry.pipeline.report.pictures.plots import as_svg, save_png
    from berry.pipeline.report.pictures.sweep_plots import draw_sweep
    from berry.pipeline.report.sweep_page import write_page

    figure = draw_sweep(
        report.points, title=report.title, axis=report.axis, categories=categories(settings), knees=report.knees
    )
    try:
        save_png(figure, out / "sweep.png")
        write_page(report, as_svg(figure), out / "sweep.html")
    except OSError as error:
        raise StorageError(f"{out}: can't be written ({error.strerror}); choose another --out") from error
    names = " ".join(str(out / name) for name in ("sweep.parquet", "sweep.png", "sweep.html"))
    console.print(f"results: {names}", highlight=False, soft_wrap=True)
