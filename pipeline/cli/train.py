"""Runs `berry train`: trains a reward model on a run's own labels."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def train(
    run_dir: Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]…", help="Settings, for example epochs=3 backbone.type=fresh lora.rank=8."),
    ] = None,
    what: Annotated[
        str, typer.Option("--what", help="prm (value of every step) or orm (of the whole answer).")
    ] = "prm",
    rounds: Annotated[list[int] | None, typer.Option("--round", help="Learn from these rounds only.")] = None,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="A YAML file with the settings.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDRESS", help="Ray cluster for processes=N; none: one is started here."),
    ] = None,
) -> None:
    """Train a reward model on the trees of a run, and report on problems that were held out.

    Run it again after a crash: it goes on from the last whole checkpoint.

    Examples:

      berry train runs/demo --what prm

      berry train runs/demo --what orm epochs=4 batch_size=8 lora.rank=16

      berry train runs/demo processes=2
    """
    from rich.console import Console

    from berry.pipeline.cli.loading import load_training
    from berry.pipeline.cli.progress import progress_bar
    from berry.pipeline.errors import InputError
    from berry.pipeline.runtime.driver.trainers import reward_trainer
    from berry.pipeline.stages.training.reward_model import train_reward
    from berry.pipeline.storage.run.directory import locked, open_run

    if what not in ("prm", "orm"):
        raise InputError(f"--what must be prm or orm, got {what!r}")
    run = open_run(run_dir)
    settings = load_training(run, config, overrides or [])
    with progress_bar() as bar, locked(run):
        task = bar.add_task("starting", total=None)

        def show(text: str, share: float | None) -> None:
            bar.update(task, description=text, completed=share or 0, total=1.0 if share is not None else None)

        result = train_reward(
            run, what, settings, rounds=rounds or None, progress=show, train=reward_trainer(run, address)
        )
    console = Console()
    if result.reused:
        console.print("trained already on the same data with the same settings:", style="dim")
    elif (step := result.report["training"]["resumed_from"]) is not None:
        console.print(f"went on from step {step} of an interrupted training", style="dim")
    if result.card.synthetic:
        console.print("SYNTHETIC engine: no model stands behind these labels", style="yellow")
    for table in report_tables(result.report, what):
        console.print(table)
    console.print(f"model:    {result.folder}", soft_wrap=True, highlight=False)
    console.print(f"curve:    {result.folder}/calibration.png", soft_wrap=True, highlight=False)
    key = "rewards.prm.model" if what == "prm" else "rewards.orm.model"
    console.print(f"use it:   berry run CONFIG {key}={result.folder}", soft_wrap=True, highlight=False)


def report_tables(report: dict[str, Any], what: str) -> list[Any]:
    """The report as tables: one of scorers, one of picking the best of N."""
    from rich.table import Table

    held = report["heldout"]
    title = f"{held['problems']} held-out problems, {held['trajectories']} trajectories, {held['labels']} labels"
    columns = [("AUC", "auc"), ("calibration error", "calibration_error"), ("Brier", "brier")]
    if what == "prm":
        columns += [
            ("step F1", "step_f1"),
            ("first error F1", "first_error_f1"),
            ("found exactly", "first_error_accuracy"),
            ("left alone", "no_error_accuracy"),
        ]
    if any(line["truth_auc"] is not None for line in report["scorers"]):
        columns += [("AUC, truth", "truth_auc"), ("first error F1, truth", "truth_first_error_f1")]
    scorers = Table(
        "", *(name for name, _ in columns), title=title, box=None, header_style="bold", title_justify="left"
    )
    for line in report["scorers"]:
        scorers.add_row(line["scorer"], *(_figure(line[key]) for _, key in columns))
    best = Table("pick by", "solved", title=f"best of {report['candidates']:.1f}", box=None, title_justify="left")
    for name, share in sorted(report["best_of_n"].items(), key=lambda pair: pair[1]):
        best.add_row(name, f"{share:.1%}")
    return [scorers, best]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
