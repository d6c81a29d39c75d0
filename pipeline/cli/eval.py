"""Runs `berry eval`: accuracy against compute, from a stored run or from runs that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.stages.evaluation.chains import ProblemAnswers
    from berry.pipeline.stages.evaluation.compute import ForwardCost, Price
    from berry.pipeline.stages.evaluation.curves import EvalCurves
    from berry.pipeline.storage.files import Location
    from berry.pipeline.storage.run.directory import RunDir


def eval_(
    what: Annotated[
        str, typer.Argument(metavar="CONFIG|RUN", help="An evaluation's YAML file, or a run directory or URL.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Change single keys of CONFIG.")
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE", help="Of a RUN, only the problems of these files; several are told apart."),
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(metavar="N,N,…", help="Samples to compare methods at; default: powers of two.")
    ] = None,
    rounds: Annotated[
        list[int] | None, typer.Option("--round", help="Of a RUN, this round; default: the first.")
    ] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="RUN", help="Compare with another run's answers to the same problems.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of a RUN with modes, this one (rollout.modes).")
    ] = None,
    compare_mode: Annotated[
        str | None, typer.Option(metavar="NAME", help="The mode of --compare; default: that of --mode.")
    ] = None,
    compare_round: Annotated[int | None, typer.Option(help="The round of --compare; default: the first.")] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="NAME", help="Also seconds and cost on this cluster, by its plan.")
    ] = None,
    prices: Annotated[str, typer.Option(metavar="NAME", help="A sheet of configs/prices, or a path.")] = "list",
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Results; default: evals/NAME, or RUN/eval for a run.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster, as for berry run.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Everything in this process, without Ray.")] = False,
) -> None:
    """Measure accuracy against compute: pass@k, majority, best-of-N, searches, each with its interval.

    Of a RUN of independent samples (best_of_n), every budget up to its number is subsampled, and nothing is generated.
    Of a CONFIG, independent samples and searches are made first; the same command goes on where it was stopped.
    Results: eval.parquet, eval.png, eval.html and eval.md in the folder.

    Examples:

      berry eval configs/eval.yaml

      berry eval runs/demo --benchmark sums=sums.jsonl --budgets 1,2,4

      berry eval runs/before --compare runs/after

      berry eval runs/thinking --mode thinking --compare runs/thinking --compare-mode plain
    """
    from berry.pipeline.errors import InputError
    from berry.pipeline.storage.files import locate, under

    counts = _numbers(budgets)
    if what.endswith((".yaml", ".yml")):
        for option, given in (
            ("--benchmark", benchmark),
            ("--round", rounds),
            ("--compare", compare),
            ("--mode", mode),
        ):
            if given:
                raise InputError(f"{option} is for a RUN; an evaluation's file says it itself (`benchmarks`)")
        _generate(what, overrides or [], counts, out, cluster, prices, address=address, local=local)
        return
    if overrides:
        raise InputError(f"{overrides[0]!r}: KEY=VALUE changes an evaluation's file; a run is as it is stored")
    from berry.pipeline.storage.run.directory import open_run

    run = open_run(what)
    config, problems = _answers(run, rounds, benchmark or [], mode)
    models, notes = _models(config)
    price = _price(config, cluster, prices)
    told = _evaluate(config, problems, counts, models, price, what)
    folder = out or under(run.location.url, "eval")
    differences = []
    if compare is not None:
        other_mode = mode if compare_mode is None else compare_mode
        differences = _compared(problems, compare, compare_round, benchmark or [], counts, what, other_mode)
    _finish(told, notes, locate(folder), title=f"{config.name}, {config.engine.type}", compared=differences)


def _numbers(text: str | None) -> tuple[int, ...]:
    from berry.pipeline.errors import InputError

    if text is None:
        return ()
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--budgets {text!r}: whole numbers, as in 1,4,16") from None
    if min(numbers) < 1:
        raise InputError(f"--budgets {text!r}: from 1 on")
    return numbers


def _answers(
    run: RunDir, rounds: Sequence[int] | None, benchmarks: Sequence[str], mode: str | None
) -> tuple[RunConfig, list[ProblemAnswers]]:
    """What methods choose from, of one round and one mode, and the configuration in that mode. Raises InputError where
    no problem of the benchmarks is in the run."""
    from berry.pipeline.errors import InputError
    from berry.pipeline.stages.dataset.reading import read_trees, stored_config
    from berry.pipeline.stages.evaluation.chains import is_independent, read_answers
    from berry.pipeline.stages.export.export import check_mode

    config = stored_config(run)
    names_of_modes = [known.name for known in config.rollout.modes]
    if names_of_modes and mode is None:
        raise InputError(
            f"{run.location.url}: has the modes {', '.join(names_of_modes)}, whose answers are not one method's: "
            "--mode NAME; --compare holds two beside each other"
        )
    check_mode(config, mode)
    there = run.rounds()
    if not there:
        raise InputError(f"{run.location.url}: holds no committed trajectories yet: let the run finish a lease")
    chosen = list(rounds or there[:1])
    if len(chosen) > 1:
        raise InputError("--round: an evaluation is of one round, whose weights are one; compare two with --compare")
    if chosen[0] not in there:
        raise InputError(f"--round {chosen[0]}: the run has the rounds {', '.join(map(str, there))}")
    names = _benchmark_names(benchmarks)
    if mode is not None:
        config = config.in_mode(mode)
    trees = (tree for tree in read_trees(run, rounds=chosen) if mode in (None, tree.mode))
    found = list(read_answers(trees, names or None, independent=is_independent(config)))
    if not found:
        wanted = f" of {', '.join(benchmarks)}" if benchmarks else ""
        raise InputError(f"{run.location.url}: holds no problem{wanted}: ids in the file and in the run must be equal")
    return config, found


def _benchmark_names(benchmarks: Sequence[str]) -> dict[str, str]:
    """The benchmark of each problem id in the files."""
    from berry.pipeline.stages.problems.files import iter_file

    names: dict[str, str] = {}
    for given in benchmarks:
        name, equals, path = given.partition("=")
        if not equals:
            name, path = Path(given).stem, given
        names |= {problem.id: name for problem in iter_file(path)}
    return names


def _models(config: RunConfig) -> tuple[dict[str, ForwardCost], list[str]]:
    """The arithmetic of the generator and of the reward models, as far as their sheets are known, and what is not."""
    from berry.pipeline.config.sections.engine import VllmEngine
    from berry.pipeline.engines import models as weights
    from berry.pipeline.errors import BerryError
    from berry.pipeline.planning.models import model_sheet
    from berry.pipeline.stages.evaluation.compute import GENERATOR, ForwardCost

    wanted: dict[str, str] = {}
    notes: list[str] = []
    if isinstance(config.engine, VllmEngine):
        wanted[GENERATOR] = config.engine.model
    else:
        notes.append(f"no FLOP: an engine of type {config.engine.type} has no sizes here")
    for name in ("prm", "orm"):
        served = None if config.rewards is None else getattr(config.rewards, name)
        if served is not None:
            wanted[name] = served.model
    found: dict[str, ForwardCost] = {}
    for role, model in wanted.items():
        try:
            sheet = model_sheet(str(weights.resolve(model)))
        except BerryError as error:
            notes.append(f"no FLOP of the {role}: {error}")
            continue
        found[role] = ForwardCost(sheet.active_parameters, sheet.attention_width)
    return found, notes


def _price(config: RunConfig, cluster: str | None, prices: str) -> Price | None:
    """Tokens a second and dollars an hour of the named cluster, by the plan of this run's work on it."""
    if cluster is None:
        return None
    from berry.pipeline.config.plan import Calibration
    from berry.pipeline.config.reading.loading import validate
    from berry.pipeline.config.run import RunConfig as Run
    from berry.pipeline.config.run import plain
    from berry.pipeline.planning.capacity import plan
    from berry.pipeline.planning.runs import workload_of
    from berry.pipeline.planning.sheets import prices as price_sheet
    from berry.pipeline.stages.evaluation.compute import Price

    there = validate({**plain(config), "cluster": cluster}, Run, where="--cluster")
    planned = plan(workload_of(there)[0], there.cluster, price_sheet(prices), Calibration())
    return Price(there.cluster.name, planned.tokens_per_s, planned.usd_per_hour)


def _evaluate(
    config: RunConfig,
    problems: Sequence[ProblemAnswers],
    budgets: tuple[int, ...],
    models: Mapping[str, ForwardCost],
    price: Price | None,
    run: str,
    name: str | None = None,
    budget: int | None = None,
) -> EvalCurves:
    from berry.pipeline.config.sections.evaluation import powers_of_two
    from berry.pipeline.stages.evaluation.chains import is_independent
    from berry.pipeline.stages.evaluation.curves import evaluate_chains, evaluate_search

    if name is None and is_independent(config):
        most = max(len(p.answers) for p in problems)
        return evaluate_chains(problems, budgets or powers_of_two(most), models, price=price, run=run)
    policy = config.rollout.policy.type
    leaves = max(1, round(sum(len(p.answers) for p in problems) / len(problems)))
    return evaluate_search(problems, name or policy, budget or leaves, models, price=price, run=run)


def _compared(
    problems: Sequence[ProblemAnswers],
    other: str,
    other_round: int | None,
    benchmarks: Sequence[str],
    budgets: tuple[int, ...],
    place: str,
    mode: str | None,
) -> list[str]:
    """Lines that say how another run does on the problems that both hold."""
    from berry.pipeline.stages.dataset.reading import stored_config
    from berry.pipeline.stages.evaluation.comparing import compare_runs
    from berry.pipeline.storage.run.directory import open_run

    run = open_run(other)
    has_modes = bool(stored_config(run).rollout.modes)
    rounds = None if other_round is None else [other_round]
    _, others = _answers(run, rounds, benchmarks, mode if has_modes else None)
    return compare_runs(problems, others, budgets, first=place, second=other)


def _generate(
    path: str,
    overrides: Sequence[str],
    budgets: tuple[int, ...],
    out: str | None,
    cluster: str | None,
    prices: str,
    *,
    address: str | None,
    local: bool,
) -> None:
    from berry.pipeline.cli import eval_runs
    from berry.pipeline.cli.progress import make_display
    from berry.pipeline.config.reading.loading import load
    from berry.pipeline.config.sections.evaluation import Evaluation as Wanted
    from berry.pipeline.runtime.driver.signals import exit_code
    from berry.pipeline.stages.dataset.reading import read_trees
    from berry.pipeline.stages.evaluation.chains import read_answers
    from berry.pipeline.stages.evaluation.curves import merged
    from berry.pipeline.storage.files import locate
    from berry.pipeline.storage.run.directory import open_run

    wanted = load(path, list(overrides), Wanted)
    location = locate(out or f"evals/{wanted.name}")
    base = Path(path).resolve().parent
    names = eval_runs.write_benchmarks(wanted, location)
    runs = eval_runs.runs_of(wanted, location, base)
    price = _price(runs[0].config, cluster, prices)
    with make_display() as display:
        if not eval_runs.make_runs(runs, location, display, address=address, local=local):
            typer.echo("stopped before the end; the same command goes on")
            raise typer.Exit(exit_code())
    parts: list[EvalCurves] = []
    notes: list[str] = []
    for run in runs:
        directory = open_run(location.show(run.folder))
        problems = list(read_answers(read_trees(directory), names or None, independent=run.search is None))
        models, unknown = _models(run.config)
        notes += [line for line in unknown if line not in notes]
        counts = budgets or wanted.all_budgets
        parts.append(_evaluate(run.config, problems, counts, models, price, run.folder, run.search, run.budget))
    _finish(merged(parts), notes, location, title=wanted.name)


def _finish(
    told: EvalCurves, notes: Sequence[str], location: Location, *, title: str, compared: Sequence[str] = ()
) -> None:
    """Writes the four files and prints the tables."""
    from rich.console import Console

    from berry.pipeline.report.eval_page import findings, render, tables
    from berry.pipeline.report.eval_plots import draw_eval
    from berry.pipeline.report.plots import as_png, as_svg
    from berry.pipeline.stages.evaluation import table

    console = Console()
    lines = [*told.left_out, *notes]
    figure = draw_eval(told.points, title=f"Accuracy against compute: {title}")
    table.write(location, told.points)
    location.put("eval.png", as_png(figure))
    location.put("eval.html", render(told, as_svg(figure), title=title, notes=lines, compared=compared).encode())
    location.put("eval.md", table.markdown(told.points).encode())
    for one in tables(told):
        console.print(one)
    for line in findings(told):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in compared:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in lines:
        console.print(f"note: {line}", markup=False, highlight=False, soft_wrap=True)
    names = " ".join(location.show(name) for name in ("eval.parquet", "eval.png", "eval.html", "eval.md"))
    console.print(f"results: {names}", highlight=False, soft_wrap=True)
