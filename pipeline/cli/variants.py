"""Runs `berry variants`: makes new problems from a run's own, each checked, as a file that a run reads."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from berry.pipeline.stages.variants.make import PreparedInputs
    from berry.pipeline.stages.variants.merge import Summary


def variants(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG", help="A run config with a `variants` section, e.g. configs/recipes/variants.yaml."
        ),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT.jsonl", help="Where originals and variants go.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]…", help="Change single keys, for example variants.kinds.0.count=2."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an OUT that is there already.")] = False,
) -> None:
    """Make variants of problems: rephrased, with other numbers, drawn anew, harder or easier.

    Each variant passes its kind's own check, is no duplicate and is near no evaluation set; what was refused is in
    OUT.refused.jsonl with its reason. Interrupted? Run the same command again: finished problems are not done twice.

    Examples:

      berry variants configs/recipes/variants.yaml -o problems.jsonl

      berry run configs/demo.yaml 'problems=[{type: file, path: /data/problems.jsonl}]'
    """
    from rich.console import Console

    from berry.pipeline.cli.loading import load_run
    from berry.pipeline.stages.variants.make import prepare

    prepared = prepare(load_run(config, overrides or []), out, overwrite=overwrite)
    console = Console(stderr=True)
    if prepared.resumed:
        console.print(f"going on: {prepared.resumed:,} of {prepared.wanted:,} problems were done before")
    start = time.monotonic()
    summary = asyncio.run(_make(prepared, console))
    _print(prepared, summary, out, time.monotonic() - start)


async def _make(prepared: PreparedInputs, console: Console) -> Summary:
    import os
    from contextlib import AsyncExitStack

    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from berry.pipeline.engines.base import Engine
    from berry.pipeline.engines.build import build, environment, preflight
    from berry.pipeline.errors import ConfigError, ResourceError
    from berry.pipeline.stages.variants.make import VariantsProgress, make
    from berry.sandboxes.base import SandboxError
    from berry.verifiers.checker import Checker

    config = prepared.config
    if prepared.needs_engine and config.engines:
        raise ConfigError("engines: `berry variants` draws by one model: name it with `engine` in place of `engines`")
    async with AsyncExitStack() as stack:
        checker = Checker(config.verification)
        stack.push_async_callback(checker.close)
        try:
            await checker.start()
        except SandboxError as error:
            raise ResourceError(str(error)) from error
        engine: Engine | None = None
        if prepared.needs_engine:
            preflight(config.engine)
            for name, value in environment(config.engine).items():
                os.environ.setdefault(name, value)
            engine = build(config.engine, engine_id="variants-0")
            stack.push_async_callback(engine.close)
            with console.status("starting the engine"):
                await engine.start()
        columns = (
            TextColumn("variants"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[found]}"),
        )
        with Bar(*columns, console=console, transient=True) as bar:
            task = bar.add_task("vary", total=prepared.wanted, found="")

            def progress(told: VariantsProgress) -> None:
                bar.update(task, completed=told.done, found=f"{told.kept:,} kept, {told.refused:,} refused")

            return await make(prepared, engine, checker, progress=progress)


def _print(prepared: PreparedInputs, summary: Summary, out: str, wall_s: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from berry.pipeline.config.sections.synthetic import SyntheticEngine
    from berry.pipeline.stages.variants.merge import refused_name

    console = Console()
    engine = prepared.config.engine
    synthetic = isinstance(engine, SyntheticEngine)
    title = f"variants{', SYNTHETIC engine, no model' if synthetic else ''}: {out}"
    table = Table("kind", "kept", "refused", "why", title=title, title_justify="left", box=None, header_style="bold")
    for kind in dict.fromkeys([*(k.type for k in prepared.variants.kinds), *(k for k, _ in summary.refused)]):
        reasons = sorted(((n, r) for (k, r), n in summary.refused.items() if k == kind), reverse=True)
        why = ", ".join(f"{n:,} {reason}" for n, reason in reasons)
        table.add_row(kind, f"{summary.kept[kind]:,}", f"{sum(n for n, _ in reasons):,}", why)
    console.print(table)
    kept = summary.kept.total()
    console.print(
        f"{summary.originals:,} originals, {kept:,} variants in {wall_s:.1f} s; refusals with their reasons: "
        f"{refused_name(out)}",
        soft_wrap=True,
        highlight=False,
    )
    if near := summary.near_evaluation:
        dropped = prepared.variants.screen.drop_originals
        fate = "left out" if dropped else "left in; variants.screen.drop_originals leaves them out"
        console.print(
            f"[yellow]{len(near):,} originals overlap with an evaluation set ({', '.join(near[:3])} …): {fate}[/]",
            soft_wrap=True,
            highlight=False,
        )
