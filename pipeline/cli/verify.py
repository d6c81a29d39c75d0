"""Runs `berry verify`: gives verdicts on responses that exist already, without any model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from berry.pipeline.stages.checking.question import Agreeing, Verifying
    from berry.pipeline.stages.checking.responses import Tally
    from berry.verifiers.config import CheckerConfig, JudgeConfig

AT_ONCE = 8  # checks under way for each slot, so that none waits for the next


def verify(
    problems: Annotated[str, typer.Argument(metavar="PROBLEMS", help="JSONL or Parquet with id, prompt, verifier.")],
    responses: Annotated[str, typer.Argument(metavar="RESPONSES", help="JSONL or Parquet with problem_id, response.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT.parquet", help="Where the verdict rows go.")],
    address: Annotated[
        str | None,
        typer.Option(
            help="A Ray cluster whose cores make the checks, a sandbox actor on each node; default: this machine."
        ),
    ] = None,
    slots: Annotated[
        int | None, typer.Option(help="Programs at once, on each machine; default: its cores.", min=1)
    ] = None,
    cpu_s: Annotated[float, typer.Option(help="CPU seconds a program.", min=0.1)] = 10.0,
    memory_mb: Annotated[int, typer.Option(help="Memory a program, in MiB.", min=16)] = 512,
    symbolic_s: Annotated[float, typer.Option(help="Seconds that sympy may take over one answer.", min=0.1)] = 5.0,
    judge_model: Annotated[
        str | None,
        typer.Option(help="Who answers `model` verifiers: a name at --judge-url, else a model that vLLM loads here."),
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible chat server, as http://host:8000/v1.")
    ] = None,
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "--judge", metavar="NAME=MODEL@URL", help="Who answers verifiers that say `judge: NAME`; may be repeated."
        ),
    ] = None,
    isolation: Annotated[
        str, typer.Option(help="auto, or none: run programs unconfined where this host can't confine them.")
    ] = "auto",
) -> None:
    """Check responses against their problems, on the cores of this machine or (--address) of a Ray cluster.

    Interrupted? Run the same command again: finished rows are kept beside OUT and not checked twice.

    Examples:

      berry import gsm8k gsm8k.jsonl -o problems.jsonl

      berry verify problems.jsonl responses.jsonl -o verdicts.parquet

      berry verify problems.jsonl responses.jsonl -o verdicts.parquet --address auto
    """
    from rich.console import Console

    from berry.pipeline.errors import InputError
    from berry.verifiers.config import CheckerConfig, JudgeConfig

    if isolation not in ("auto", "none"):
        raise InputError(f"--isolation must be auto or none, got {isolation!r}")
    if not out.endswith(".parquet"):
        raise InputError(f"--out must end in .parquet, got {out!r}")
    if judge_url is not None and (judge_model is None or not judge_url.startswith(("http://", "https://"))):
        raise InputError(f"--judge-url must be a http(s) address with --judge-model beside it, got {judge_url!r}")
    if address is not None and judge_model is not None and judge_url is None:
        raise InputError("--judge-model on a cluster needs --judge-url: a server that its nodes can reach")
    config = CheckerConfig(
        judge=JudgeConfig(url=judge_url, model=judge_model) if judge_url and judge_model else None,
        judges=_named_judges(judges or ()),
        slots=slots,
        cpu_s=cpu_s,
        wall_s=3 * cpu_s,
        memory_mb=memory_mb,
        symbolic_s=symbolic_s,
        isolation="none" if isolation == "none" else "auto",
    )
    console = Console(stderr=True)
    start = time.monotonic()
    tally = asyncio.run(_verify(problems, responses, out, config, address, None if judge_url else judge_model, console))
    _summary(tally, out, time.monotonic() - start)


async def _verify(
    problems_path: str,
    responses_path: str,
    out: str,
    config: CheckerConfig,
    address: str | None,
    judge_model: str | None,
    console: Console,
) -> Tally:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from berry.pipeline.cli.progress import progress_bar
    from berry.pipeline.errors import InputError
    from berry.pipeline.stages.checking.responses import (
        Parts,
        Tally,
        digest,
        iter_responses,
        load_problems,
        verify_all,
    )
    from berry.verifiers.judges import unknown_judge

    problems = load_problems(problems_path)
    for problem in problems.values():
        if (lacking := unknown_judge(problem.verifier, config)) is not None:
            raise InputError(f"problem {problem.id!r}: {lacking}; give it as --judge NAME=MODEL@URL")
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
    async with _here(config, judge_model) if address is None else _there(address, config, console) as checks:
        with progress_bar(*columns) as bar:
            task = bar.add_task("verify", total=total, passed="")

            def progress(tally: Tally) -> None:
                bar.update(task, completed=tally.done, passed=f"{tally.outcomes.get('pass', 0):,} pass")

            await verify_all(
                problems,
                iter_responses(responses_path, problems),
                parts,
                tally,
                checks.check,
                checks.agree,
                at_once=AT_ONCE * checks.slots,
                progress=progress,
            )
    parts.merge()
    return tally


def _named_judges(given: Iterable[str]) -> dict[str, JudgeConfig]:
    """The judges of `--judge`, by name. Raises InputError."""
    from pydantic import TypeAdapter, ValidationError

    from berry.pipeline.errors import InputError
    from berry.verifiers.config import JudgeConfig, JudgeName

    named: dict[str, JudgeConfig] = {}
    for text in given:
        name, _, served = text.partition("=")
        model, _, url = served.rpartition("@")
        if name in named:
            raise InputError(f"--judge {name!r} is given twice")
        try:
            named[TypeAdapter(JudgeName).validate_python(name)] = JudgeConfig(url=url, model=model)
        except ValidationError as error:
            raise InputError(
                f"--judge must be NAME=MODEL@URL, as strict=llama@http://host:8000/v1, got {text!r}"
            ) from error
    return named


class _CheckPlace(NamedTuple):
    """Where the checks are made."""

    check: Verifying
    agree: Agreeing
    slots: int


@asynccontextmanager
async def _here(config: CheckerConfig, judge_model: str | None) -> AsyncIterator[_CheckPlace]:
    import os

    from berry.pipeline.errors import ResourceError
    from berry.pipeline.stages.checking.engine_judge import judge_of
    from berry.pipeline.stages.checking.question import with_retry
    from berry.sandboxes.base import SandboxError
    from berry.verifiers.checker import Checker

    try:
        async with judge_of(judge_model) as judge, Checker(config, judge=judge) as checker:
            yield _CheckPlace(with_retry(checker.check), checker.agree, config.slots or os.cpu_count() or 1)
    except SandboxError as error:
        raise ResourceError(str(error)) from error


@asynccontextmanager
async def _there(address: str, config: CheckerConfig, console: Console) -> AsyncIterator[_CheckPlace]:
    from berry.pipeline.runtime.cluster.standalone_sandboxes import sandboxes_at

    async with sandboxes_at(address, config, note=console.print) as endpoint:
        console.print(f"{endpoint.actors} sandbox actor(s) of {endpoint.slots} slots at {address}")
        for node in endpoint.left_out:
            console.print(f"node {node} has no cores free and is left out")
        yield _CheckPlace(endpoint.client.verify, endpoint.client.agree, endpoint.slots)


def _summary(tally: Tally, out: str, wall_s: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from berry.pipeline.records import Ending

    console = Console()
    told = (Ending.PASS, Ending.WRONG, Ending.NO_ANSWER, Ending.UNVERIFIABLE)
    table = Table("kind", *(name.replace("_", " ") for name in told), "pass rate", box=None, header_style="bold")
    for kind, counts in sorted(tally.kinds.items()):
        passed, wrong, *_ = by_ending = [counts.get(name, 0) for name in told]
        rate = f"{passed / (passed + wrong):.1%}" if passed + wrong else "–"
        table.add_row(kind, *(f"{count:,}" for count in by_ending), rate)
    console.print(table)
    reasons = Table("verdict", "reason", "rows", box=None, header_style="bold")
    for (outcome, reason), count in sorted(tally.reasons.items(), key=lambda item: (item[0][0], -item[1])):
        reasons.add_row(outcome, reason, f"{count:,}")
    console.print(reasons)
    fresh = tally.done - tally.resumed
    console.print(
        f"{tally.done:,} rows in {out}; {fresh:,} verified now in {wall_s:.1f} s ({fresh / max(wall_s, 1e-9):,.0f}/s)"
    )
