"""Runs `berry eval`: accuracy against compute, from a stored run or from runs that it makes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from berry.pipeline.cli.prose import print_prose
from berry.pipeline.stages.evaluation.axis import Axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.stages.evaluation.chains import ProblemAnswers
    from berry.pipeline.stages.evaluation.compute import ForwardCost, Price
    from berry.pipeline.stages.evaluation.curves import EvalCurves
    from berry.pipeline.stages.evaluation.measure import Measurement
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
    axis: Annotated[
        Axis, typer.Option(help="What compute is measured in where methods are drawn and compared.")
    ] = Axis.GENERATED_TOKENS,
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
    from berry.pipeline.stages.evaluation.curves import draw_curves
    from berry.pipeline.stages.evaluation.measure import Measurement
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
        _generate(what, overrides or [], counts, out, cluster, prices, axis, address=address, local=local)
        return
    if overrides:
        raise InputError(f"{overrides[0]!r}: KEY=VALUE changes an evaluation's file; a run is as it is stored")
    from berry.pipeline.cli import eval_costs
    from berry.pipeline.cli.progress import working
    from berry.pipeline.stages.training.benchmark_overlap import folders_of, judged_models, overlap_lines
    from berry.pipeline.storage.run.directory import open_run

    run = open_run(what)
    with working("reading the run's answers"):
        config, problems = _answers(run, rounds, benchmark or [], mode)
    sheets, notes = eval_costs.models(config)
    price, unplanned = eval_costs.price(config, cluster, prices)
    asked = [(p.benchmark, p.text) for p in problems]
    notes += overlap_lines(folders_of(judged_models(config, run, rounds[0] if rounds else 0)), asked)
    with working("measuring methods on subsamples"):
        measured = _measure(config, problems, counts, sheets, price, what)
    folder = out or under(run.location.url, "eval")
    differences = []
    if compare is not None:
        other_mode = mode if compare_mode is None else compare_mode
        other, others, lines = _compared(problems, compare, compare_round, benchmark or [], counts, what, other_mode)
        sheets, unknown = eval_costs.models(other)
        label = Path(compare).name if other_mode is None else f"{Path(compare).name}, {other_mode}"
        with working(f"measuring methods on subsamples of {compare}"):
            beside = _measure(other, others, counts, sheets, None, compare, of=label)
        measured = Measurement.merged([measured, beside])
        notes += [line for line in unknown if line not in notes]
        notes += overlap_lines(folders_of(judged_models(other, open_run(compare), compare_round or 0)), asked)
        differences = lines
    told = draw_curves(measured, axis=axis)
    title = f"{config.name}, {config.engine.type}"
    _finish(told, list(dict.fromkeys([*notes, *unplanned])), locate(folder), title=title, compared=differences)


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
    from berry.pipeline.cli.eval_runs import benchmark_problems
    from berry.pipeline.config.sections.evaluation import BenchmarkFile
    from berry.pipeline.stages.problems.benchmarks import STANDARD
    from berry.pipeline.stages.problems.files import iter_file

    names: dict[str, str] = {}
    for given in benchmarks:
        name, equals, path = given.partition("=")
        if not equals:
            name, path = Path(given).stem, given
        standard = name in STANDARD
        problems = benchmark_problems(name, BenchmarkFile(path=path)) if standard else iter_file(path)
        names |= {problem.id: name for problem in problems}
    return names


def _measure(
    config: RunConfig,
    problems: Sequence[ProblemAnswers],
    budgets: tuple[int, ...],
    models: Mapping[str, ForwardCost],
    price: Price | None,
    run: str,
    *,
    name: str | None = None,
    budget: int | None = None,
    of: str | None = None,
) -> Measurement:
    """What a run's methods reach. `name`, `budget`: of a search; `of`: put after each method, where two runs stand in
    one picture."""
    from dataclasses import replace

    from berry.pipeline.config.sections.evaluation import powers_of_two
    from berry.pipeline.core.search.registry import search_class
    from berry.pipeline.stages.evaluation.chains import in_loop_scorers, is_independent
    from berry.pipeline.stages.evaluation.measure import measure_chains, measure_search

    if name is None and is_independent(config):
        most = max(len(p.answers) for p in problems)
        told = measure_chains(problems, budgets or powers_of_two(most), models, price=price, run=run)
    else:
        leaves = max(1, round(sum(len(p.answers) for p in problems) / len(problems)))
        told = measure_search(
            problems,
            name or config.rollout.policy.type,
            budget or leaves,
            models,
            scorers=in_loop_scorers(config),
            price=price,
            run=run,
        )
    if search_class(config.rollout.policy).scheme(config.rollout).adaptive:
        line = (
            f"{name or config.rollout.policy.type} looks at the benchmark's own verdicts while it searches: it says "
            "what a perfect verifier at hand would be worth"
        )
        told = replace(told, left_out=(*told.left_out, line))
    if of is None:
        return told
    renamed = tuple(replace(column, method=f"{column.method} ({of})") for column in told.columns)
    return replace(told, columns=renamed, pass_rates={})


def _compared(
    problems: Sequence[ProblemAnswers],
    other: str,
    other_round: int | None,
    benchmarks: Sequence[str],
    budgets: tuple[int, ...],
    place: str,
    mode: str | None,
) -> tuple[RunConfig, list[ProblemAnswers], list[str]]:
    """Another run, its answers to the problems that both hold, and lines that say how it does."""
    from berry.pipeline.stages.dataset.reading import stored_config
    from berry.pipeline.stages.evaluation.comparing import compare_runs
    from berry.pipeline.storage.run.directory import open_run

    run = open_run(other)
    has_modes = bool(stored_config(run).rollout.modes)
    rounds = None if other_round is None else [other_round]
    config, others = _answers(run, rounds, benchmarks, mode if has_modes else None)
    lines = compare_runs(problems, others, budgets, first=place, second=other)
    here = {p.problem_id for p in problems}
    return config, [p for p in others if p.problem_id in here], lines


def _generate(
    path: str,
    overrides: Sequence[str],
    budgets: tuple[int, ...],
    out: str | None,
    cluster: str | None,
    prices: str,
    axis: Axis,
    *,
    address: str | None,
    local: bool,
) -> None:
    from collections import Counter

    from berry.pipeline.cli import eval_costs, eval_runs
    from berry.pipeline.cli.progress import make_display
    from berry.pipeline.config.reading.loading import load
    from berry.pipeline.config.sections.evaluation import Evaluation as Wanted
    from berry.pipeline.runtime.driver.signals import exit_code
    from berry.pipeline.stages.dataset.reading import read_trees
    from berry.pipeline.stages.evaluation.chains import read_answers
    from berry.pipeline.stages.evaluation.curves import draw_curves
    from berry.pipeline.stages.evaluation.measure import Measurement
    from berry.pipeline.stages.problems.benchmarks import partial_note
    from berry.pipeline.stages.problems.sources import iter_problems
    from berry.pipeline.stages.training.benchmark_overlap import folders_of, judged_models, overlap_lines
    from berry.pipeline.storage.files import locate
    from berry.pipeline.storage.run.directory import open_run

    wanted = load(path, list(overrides), Wanted)
    location = locate(out or f"evals/{wanted.name}")
    base = Path(path).resolve().parent
    names = eval_runs.write_benchmarks(wanted, location)
    runs = eval_runs.runs_of(wanted, location, base)
    sheets = [eval_costs.models(run.config) for run in runs]
    planned = [eval_costs.price(run.config, cluster, prices) for run in runs]
    asked = [(names.get(p.id, p.source or "all problems"), p.text) for p in iter_problems(runs[0].config.problems)]
    overlapping = overlap_lines(folders_of(judged_models(runs[0].config)), asked)
    sizes = Counter(names.values())
    taken = (partial_note(name, of.dataset or name, sizes[name]) for name, of in wanted.benchmarks.items())
    partial = [line for line in taken if line]
    with make_display() as display:
        for line in overlapping:
            display.note(line)
        if not eval_runs.make_runs(runs, location, display, address=address, local=local):
            typer.echo("stopped before the end; the same command goes on")
            raise typer.Exit(exit_code())
    parts: list[Measurement] = []
    for run, (models, _), (price, _) in zip(runs, sheets, planned, strict=True):
        directory = open_run(location.show(run.folder))
        problems = list(read_answers(read_trees(directory), names or None, independent=run.search is None))
        counts = budgets or wanted.all_budgets
        parts.append(
            _measure(run.config, problems, counts, models, price, run.folder, name=run.search, budget=run.budget)
        )
    notes = list(dict.fromkeys([*overlapping, *partial, *(line for _, lines in (*sheets, *planned) for line in lines)]))
    _finish(draw_curves(Measurement.merged(parts), axis=axis), notes, location, title=wanted.name)


def _finish(
    told: EvalCurves, notes: Sequence[str], location: Location, *, title: str, compared: Sequence[str] = ()
) -> None:
    """Writes the four files and prints the tables."""
    from rich.console import Console

    from berry.pipeline.report.eval_page import findings, render, tables
    from berry.pipeline.report.pictures.eval_plots import draw_eval, draw_panels
    from berry.pipeline.report.pictures.plots import as_png, as_svg
    from berry.pipeline.stages.evaluation import table

    console = Console()
    lines = [*told.left_out, *notes]
    figure = draw_eval(told.points, title=f"Accuracy against compute: {title}", axis=told.axis)
    table.write(location, told.points)
    location.put("eval.png", as_png(figure))
    pictures = [as_svg(panel) for panel in draw_panels(told.points, axis=told.axis)]
    location.put("eval.html", render(told, pictures, title=title, notes=lines, compared=compared).encode())
    location.put("eval.md", table.markdown(told.points).encode())
    for one in tables(told):
        console.print(one)
    for line in findings(told):
        print_prose(console, line)
    for line in compared:
        print_prose(console, line)
    for line in lines:
        print_prose(console, f"note: {line}")
    names = " ".join(location.show(name) for name in ("eval.parquet", "eval.png", "eval.html", "eval.md"))
    console.print(f"results: {names}", highlight=False, soft_wrap=True)
