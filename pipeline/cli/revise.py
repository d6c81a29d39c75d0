"""Runs `berry reprune` and `berry reverify`: new rules or verifiers on stored trees, without generating."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.storage.run.directory import RunDir

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run directory or URL, for example runs/demo.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="What to change of the run's stored configuration.")
]
Name = Annotated[str, typer.Option("--as", metavar="NAME", help="The revision's name: RUN/revisions/NAME.")]


def reprune(run_dir: RunArgument, overrides: Overrides = None, name: Name = "repruned") -> None:
    """Apply other pruning rules to stored trees: makes a new kept set beside the old one, without an engine.

    Examples:

      berry reprune runs/demo 'pruning=[{type: verdict}, {type: shortest, k: 2}]' --as short

      berry inspect runs/demo/revisions/short
    """
    source, config = _stored(run_dir, overrides or [])
    _check_rates(source, config)
    _revise(run_dir, source, config, name, verify=False)


def reverify(
    run_dir: RunArgument,
    overrides: Overrides = None,
    name: Name = "reverified",
    slots: Annotated[int | None, typer.Option(help="Checks at once; default: the cores here.", min=1)] = None,
) -> None:
    """Check stored responses again, with the verifiers as they are now; values and pruning follow.

    Examples:

      berry reverify runs/demo

      berry reverify runs/demo verification.cpu_s=30 --as patient
    """
    from berry.pipeline.errors import InputError

    source, config = _stored(run_dir, overrides or [])
    if config.rollout.environment is not None:
        raise InputError(
            f"{run_dir}: its verdicts are those of rollout.environment, which no verifier can give again; berry "
            "reprune keeps them"
        )
    _revise(run_dir, source, config, name, verify=True, slots=slots)


def _check_rates(source: RunDir, config: RunConfig) -> None:
    """Raises InputError where a rule needs the pass rates of problems, and the run has none that is unbiased."""
    from berry.pipeline.core.prune.difficulty import DifficultyRule
    from berry.pipeline.errors import InputError
    from berry.pipeline.stages.dataset.missing_labels import explain_missing_rates

    if any(isinstance(rule, DifficultyRule) for rule in config.pruning):
        lacking = explain_missing_rates(source)
        if lacking is not None:
            raise InputError(f"pruning (difficulty): no problem of this run has an unbiased pass rate: {lacking}")


def _stored(run_dir: str, overrides: list[str]) -> tuple[RunDir, RunConfig]:
    from berry.pipeline.config.reading.loading import apply_override, validate
    from berry.pipeline.config.run import RunConfig
    from berry.pipeline.errors import ConfigError
    from berry.pipeline.storage.run.directory import open_run

    source = open_run(run_dir)
    raw: dict[str, Any] = source.config() or {}
    for override in overrides:
        key = override.partition("=")[0].split(".")[0]
        if key not in ("pruning", "verification", "problems"):
            raise ConfigError(f"{override!r}: only pruning, verification and problems can change for stored trees")
        apply_override(raw, override)
    return source, validate(raw, RunConfig, where=f"{run_dir}/run.yaml")


def _revise(
    run_dir: str, source: RunDir, config: RunConfig, name: str, *, verify: bool, slots: int | None = None
) -> None:
    import asyncio
    from contextlib import AsyncExitStack
    from functools import partial

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from berry.pipeline.cli.progress import progress_bar
    from berry.pipeline.cli.summary import counts_table, title
    from berry.pipeline.core.assignment.modes import in_modes, rollout_of
    from berry.pipeline.errors import InputError, first_error
    from berry.pipeline.report.summary import summarise
    from berry.pipeline.stages.dataset.maintenance.revise import reverifier, revise
    from berry.pipeline.stages.leases.partition import changed_problems
    from berry.pipeline.stages.problems.asked import Changes
    from berry.pipeline.stages.problems.sources import survey
    from berry.pipeline.storage.parquet import shard_files
    from berry.pipeline.storage.run.directory import locked, prepare
    from berry.verifiers.checker import Checker
    from berry.verifiers.judges import unknown_judge

    checks = config.verification
    lacking = (lambda problem: unknown_judge(problem.verifier, checks)) if verify else None
    survey(config.problems, fault=lacking, in_modes=partial(in_modes, config))
    changed = changed_problems(source, config) if verify else None
    if changed is not None and changed.prompts:
        raise InputError(
            f"{run_dir}: since this run the problem files have changed {Changes(changed.prompts).explain()}; its "
            "answers are to what was asked then: restore the texts (verifiers may differ)"
        )
    location = f"{run_dir.rstrip('/')}/revisions/{name}"
    target, _ = prepare(location, config, source.versions(), otherwise="make another revision with --as NAME")
    total = sum(len(source.committed(r)) for r in source.rounds())
    columns = (TextColumn("leases"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with locked(target), progress_bar(*columns) as bar:
        for round_index in source.rounds():
            shard_files.remove_uncommitted(target.location, round_index)
        task = bar.add_task("leases", total=total, completed=sum(len(target.committed(r)) for r in source.rounds()))

        async def work() -> None:
            async with AsyncExitStack() as stack:
                check = None
                if verify:
                    checker = Checker(config.verification.model_copy(update={"slots": slots}))
                    check = reverifier(
                        await stack.enter_async_context(checker),
                        lambda problem: rollout_of(config, problem.id).thinking,
                    )
                await revise(source, target, config, check=check, progress=lambda _: bar.advance(task))

        try:
            asyncio.run(work())
        except BaseExceptionGroup as errors:
            raise first_error(errors) from errors
    Console().print(counts_table(summarise(target), title=title(target.config() or {}, location)))
