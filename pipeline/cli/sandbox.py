"""Runs `berry sandbox`: shows what confines code on this host, and runs a file in the sandbox by hand."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from berry.pipeline.errors import InputError, ResourceError

if TYPE_CHECKING:
    from berry.sandboxes.base import JobResult, Limits
    from berry.sandboxes.config import PoolConfig

app = typer.Typer(no_args_is_help=True, help="Run untrusted code, and see what confines it here.")
_SUFFIXES = {".py": "python", ".cpp": "cpp", ".cc": "cpp", ".js": "javascript", ".mjs": "javascript", ".sh": "shell"}
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@app.command()
def probe() -> None:
    """Show the level of isolation on this host, which parts of the jail it has, and what missing ones leave open."""
    from rich.console import Console
    from rich.table import Table

    from berry.sandboxes.probe import DOCUMENTATION
    from berry.sandboxes.probe import probe as examine_host

    report = examine_host()
    table = Table("part", "on", "detail", "leaves open", title="sandbox on this host")
    for part in (*report.parts, *report.languages):
        table.add_row(part.name, "[green]yes[/]" if part.on else "[red]no[/]", part.detail, part.leaves_open)
    console = Console()
    console.print(table)
    for note in report.notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"time limits are multiplied by {report.calibration:.2f} here (1.00: the reference host)")
    console.print(f"level: [bold]{report.level}[/] (what it covers and what not: {DOCUMENTATION})")
    if not report.sufficient:
        raise ResourceError(f"this host can't confine untrusted code: {'; '.join(report.lacking)}")


@app.command()
def attack(
    isolation: Annotated[str, typer.Option(help="none attacks even where the host can't confine jobs.")] = "auto",
) -> None:
    """Attack this host's sandbox with the whole catalogue of hostile programs (under two minutes)."""
    from berry.sandboxes.attacks.run import RECYCLE_AFTER
    from berry.sandboxes.base import SandboxError
    from berry.sandboxes.config import PoolConfig

    if isolation not in ("auto", "none"):
        raise InputError(f"--isolation must be auto or none, got {isolation}")
    config = PoolConfig(slots=1, recycle_after=RECYCLE_AFTER, isolation=isolation)  # type: ignore[arg-type]
    try:
        failed = asyncio.run(_attack(config))
    except SandboxError as e:
        raise ResourceError(str(e)) from e
    raise typer.Exit(1 if failed else 0)


async def _attack(config: PoolConfig) -> int:
    """Prints the table; returns how many attacks were not stopped."""
    from rich.console import Console
    from rich.table import Table

    from berry.pipeline.cli.progress import working
    from berry.sandboxes.attacks.run import AttackResult, attack_host, catalogue
    from berry.sandboxes.probe import DOCUMENTATION

    console = Console()
    results: list[AttackResult] = []
    total = sum(map(len, catalogue().values()))
    with working(f"attack 1 of {total}") as now_at:
        async for result in attack_host(config):
            results.append(result)
            now_at(f"attack {len(results) + 1} of {total}")
    table = Table("attacks that", "tried", "stopped", "not stopped", title="attacks on this host's sandbox")
    for group in catalogue():
        mine = [r for r in results if r.group == group]
        through = [f"{r.name}: {r.detail}" for r in mine if not r.stopped]
        colour = "red" if through else "green"
        table.add_row(group, str(len(mine)), f"[{colour}]{len(mine) - len(through)}[/]", "\n".join(through))
    console.print(table)
    failed = sum(not r.stopped for r in results)
    console.print(
        f"{len(results) - failed} of {len(results)} attacks were stopped; what they can't show: {DOCUMENTATION}"
    )
    return failed


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="Source file; its suffix tells the language (.py .cpp .js .sh).")],
    stdin: Annotated[str, typer.Option(help="Text for standard input; @FILE reads a file.")] = "",
    limits: Annotated[str, typer.Option(help="As cpu_s=1,wall_s=5,memory_bytes=256m (see berry sandbox run).")] = "",
    profile: Annotated[str, typer.Option(help="bare, numeric, or modules to load beforehand: numpy,scipy.")] = "bare",
    language: Annotated[str, typer.Option(help="python, cpp, javascript or shell, whatever the suffix.")] = "",
    isolation: Annotated[str, typer.Option(help="none runs even where the host can't confine it.")] = "auto",
) -> None:
    """Run one file in the sandbox: its output goes to stdout and stderr, what became of it to stderr."""
    from berry.sandboxes.base import LANGUAGES, Job, JobOutcome, SandboxError
    from berry.sandboxes.config import PoolConfig

    named = language or _SUFFIXES.get(file.suffix)
    if named not in LANGUAGES:
        raise InputError(f"{file}: the language is not known; add --language {'|'.join(LANGUAGES)}")
    if isolation not in ("auto", "none"):
        raise InputError(f"--isolation must be auto or none, got {isolation}")
    try:
        job = Job(
            _read(file).decode("utf-8", "surrogateescape"),
            language=named,
            stdin=(_read(Path(stdin[1:])) if stdin.startswith("@") else stdin,),
            profile=profile if profile in ("bare", "numeric") else tuple(profile.split(",")),
            limits=parse_limits(limits),
        )
        result = asyncio.run(_run(job, PoolConfig(slots=1, warm=(), isolation=isolation)))  # type: ignore[arg-type]
    except SandboxError as e:
        raise ResourceError(str(e)) from e
    for case in result.cases:
        sys.stdout.buffer.write(case.stdout)
        sys.stdout.flush()
        sys.stderr.buffer.write(case.stderr)
    sys.stderr.write(summary(result) + "\n")
    raise typer.Exit(0 if result.outcome is JobOutcome.OK else 1)


def summary(result: JobResult) -> str:
    """One line on how a run ended."""
    text = f"{result.outcome}: {result.cpu_s:.3f} s CPU, {result.wall_s:.3f} s, {result.peak_bytes >> 20} MiB"
    limit = f", hit the {result.limit_hit} limit" if result.limit_hit else ""
    return text + limit + (f" ({result.error.strip()})" if result.error else "")


def parse_limits(text: str) -> Limits:
    """`name=value,…` as Limits; byte counts take k, m and g. Raises InputError naming the key."""
    from berry.sandboxes.base import Limits, SandboxError

    defaults = Limits()
    chosen: dict[str, Any] = {}
    for pair in filter(None, text.split(",")):
        name, _, value = pair.partition("=")
        known = [field.name for field in dataclasses.fields(Limits)]
        if name not in known:
            raise InputError(f"--limits: no limit named {name!r}; there are {', '.join(known)}")
        unit = _UNITS.get(value[-1:].lower(), 1)
        try:
            number = float(value if unit == 1 else value[:-1]) * unit
        except ValueError:
            raise InputError(f"--limits: {name} must be a number, got {value!r}") from None
        chosen[name] = type(getattr(defaults, name))(number)
    try:
        return dataclasses.replace(defaults, **chosen)
    except SandboxError as e:
        raise InputError(f"--limits: {e}") from e


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        raise InputError(f"{path}: {e.strerror}") from e


async def _run(job: Any, config: PoolConfig) -> JobResult:
    from berry.sandboxes.pool import SandboxPool

    async with SandboxPool(config) as pool:
        return await pool.run(job)
