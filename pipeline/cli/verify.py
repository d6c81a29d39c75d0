"""berry verify PROBLEMS RESPONSES -o OUT.parquet: verdicts on data that exists already, without any model."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.stages.verification import Tally
    from verifiers.config import CheckerConfig


def verify(
    problems: Annotated[str, typer.Argument(metavar="PROBLEMS", help="JSONL or Parquet with id, prompt, verifier.")],
    responses: Annotated[str, typer.Argument(metavar="RESPONSES", help="JSONL or Parquet with problem_id, response.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT.parquet", help="Where the verdict rows go.")],
    slots: Annotated[int | None, typer.Option(help="Programs at once; default: the cores here.", min=1)] = None,
    cpu_s: Annotated[float, typer.Option(help="CPU seconds a program.", min=0.1)] = 10.0,
    memory_mb: Annotated[int, typer.Option(help="Memory a program, in MiB.", min=16)] = 512,
    symbolic_s: Annotated[float, typer.Option(help="Seconds that sympy may take over one answer.", min=0.1)] = 5.0,
    isolation: Annotated[
        str, typer.Option(help="auto, or none: run programs unconfined where this host can't confine them.")
    ] = "auto",
) -> None:
    """Verify responses against problems, on the cores of this machine.

    Interrupted? Run the same command again: finished rows are kept beside OUT and not checked twice.

    Examples:

      berry import gsm8k gsm8k.jsonl -o problems.jsonl

      berry verify problems.jsonl responses.jsonl -o verdicts.parquet
    """
    from rich.console import Console

    from pipeline.errors import InputError
    from verifiers.config import CheckerConfig

    if isolation not in ("auto", "none"):
        raise InputError(f"--isolation must be auto or none, got {isolation!r}")
    if not out.endswith(".parquet"):
        raise InputError(f"--out must end in .parquet, got {out!r}")
    config = CheckerConfig(
        slots=slots,
        cpu_s=cpu_s,
        wall_s=3 * cpu_s,
        memory_mb=memory_mb,
        symbolic_s=symbolic_s,
        isolation="none" if isolation == "none" else "auto",
    )
    console = Console(stderr=True)
    start = time.monotonic()
    tally = asyncio.run(_verify(problems, responses, out, config, console))
    _summary(tally, out, time.monotonic() - start)


async def _verify(problems_path: str, responses_path: str, out: str, config: CheckerConfig, console: Console) -> Tally:
    import os

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from pipeline.errors import ResourceError
    from pipeline.stages.verification import Parts, Tally, digest, iter_responses, load_problems, verify_all
    from sandboxes.base import SandboxError
    from verifiers.checker import Checker

    problems = load_problems(problems_path)
    total = sum(1 for _ in iter_responses(responses_path, problems))
    parts, tally = Parts(out, digest(problems_path, responses_path)), Tally(total)
    if resumed := parts.resume():
        console.print(f"going on: {resumed:,} of {total:,} rows were verified before")
    columns = (
        TextColumn("verifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[passed]}"),
    )
    try:
        async with Checker(config) as checker:
            with Progress(*columns, console=console, transient=True) as bar:
                task = bar.add_task("verify", total=total, passed="")

                def progress(tally: Tally) -> None:
                    bar.update(task, completed=tally.done, passed=f"{tally.outcomes.get('pass', 0):,} pass")

                await verify_all(
                    problems,
                    iter_responses(responses_path, problems),
                    parts,
                    tally,
                    checker.check,
                    checker.symbolic,
                    at_once=8 * (config.slots or os.cpu_count() or 1),
                    progress=progress,
                )
    except SandboxError as error:
        raise ResourceError(str(error)) from error
    parts.merge()
    return tally


def _summary(tally: Tally, out: str, wall_s: float) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("kind", "pass", "fail", "unverifiable", "pass rate", box=None, header_style="bold")
    for kind, counts in sorted(tally.kinds.items()):
        passed, failed, unknown = (counts.get(o, 0) for o in ("pass", "fail", "unverifiable"))
        rate = f"{passed / (passed + failed):.1%}" if passed + failed else "–"
        table.add_row(kind, f"{passed:,}", f"{failed:,}", f"{unknown:,}", rate)
    console.print(table)
    reasons = Table("verdict", "reason", "rows", box=None, header_style="bold")
    for (outcome, reason), count in sorted(tally.reasons.items(), key=lambda item: (item[0][0], -item[1])):
        reasons.add_row(outcome, reason, f"{count:,}")
    console.print(reasons)
    fresh = tally.done - tally.resumed
    console.print(
        f"{tally.done:,} rows in {out}; {fresh:,} verified now in {wall_s:.1f} s ({fresh / max(wall_s, 1e-9):,.0f}/s)"
    )
