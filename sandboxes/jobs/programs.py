"""Runs programs in other languages: compiled once where there is a compiler, then run once for each input.

source ─► compile (fork and exec allowed, own limits) ─► binary in memory ─► run in a fresh child ─► output
                                                         kept for later jobs of the same source

Where an interpreter reports a syntax error, the source is parsed once more without being run, so that what
does not parse (`compile_error`) is told from a program that raises a syntax error of its own (`runtime_error`).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace

from berry.sandboxes.base import CaseResult, Job, JobOutcome, JobResult, Limits, SandboxError, SlotDied
from berry.sandboxes.host import outcomes
from berry.sandboxes.host.records import Ended
from berry.sandboxes.host.slot import SlotHandle
from berry.sandboxes.host.slots import Slots
from berry.sandboxes.jobs.python import header, programs_result, stdin_bytes
from berry.sandboxes.languages import BINARY, COMMANDS, LanguageCommands, command, environment, missing_tools

CACHE_BYTES = 64 << 20


class Binaries:
    """Caches compiled programs by content, the least recently used dropped first."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, bytes] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        """Returns the program, or None."""
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: str, binary: bytes) -> None:
        """Keeps a program."""
        self._held[key] = binary
        while sum(map(len, self._held.values())) > CACHE_BYTES and len(self._held) > 1:
            self._held.popitem(last=False)


async def run_programs(slots: Slots, binaries: Binaries, number: int, job: Job, limits: Limits) -> JobResult:
    """Runs a job in a language of `COMMANDS`; raises SlotDied."""
    if job.entry_point is not None:
        raise SandboxError(f"calls need python, not {job.language}: a {job.language} program gets stdin")
    directories = slots.config.tool_directories
    missing = missing_tools(job.language, directories)
    if missing:
        text = f"{job.language} needs {', '.join(missing)}, which this host lacks"
        return JobResult(JobOutcome.MISSING_TOOL, error=text)
    row = COMMANDS[job.language]
    binary = b""
    if row.compile:
        key = hashlib.blake2b(repr((row.compile, job.source)).encode()).hexdigest()
        held = binaries.get(key)
        if held is None:
            failed, held = await _compile(slots, number, row, job)
            if failed is not None:
                return failed
            binaries.put(key, held)
        binary = held
    slot = await slots.handle("bare", row.kind, number)
    argv = command(row, row.run, limits, directories) if row.run else [f"./{BINARY}"]
    cases: list[CaseResult] = []
    parses: bool | None = None
    for text in job.stdin:
        case = await _run(slot, row, argv, job.source, stdin_bytes(text), binary, limits, directories)
        if row.parse and case.outcome is JobOutcome.RUNTIME_ERROR and row.unparsed in case.stderr:
            if parses is None:
                parser = command(row, row.parse, limits, directories)
                parsed = await _run(slot, row, parser, job.source, b"", b"", limits, directories)
                parses = parsed.outcome is not JobOutcome.RUNTIME_ERROR
            case = case if parses else _unparsed(case, row.unparsed)
        cases.append(case)
        if cases[-1].outcome is not JobOutcome.OK and job.stop_on_error:
            break
    return programs_result(cases, len(job.stdin))


def _unparsed(case: CaseResult, mark: bytes) -> CaseResult:
    lines = case.stderr.decode("utf-8", "replace").splitlines()
    return replace(case, outcome=JobOutcome.COMPILE_ERROR, error=next(line for line in lines if mark.decode() in line))


async def _compile(slots: Slots, number: int, row: LanguageCommands, job: Job) -> tuple[JobResult | None, bytes]:
    limits = slots.limits_now(slots.config.compile_limits)
    slot = await slots.handle("bare", "tools", number)
    child = await slot.begin(limits, fetch=BINARY)
    directories = slots.config.tool_directories
    file, main = row.names(job.source) if row.names is not None else (row.source, "")
    argv = command(row, row.compile, limits, directories, file=file, main=main)
    try:
        child.allow(1)  # that exec failed
        child.send(header("exec", job.source, limits, file=file, binary=[0, 0], reserve=0, more_files=64,
                         argv=argv, env=environment(row, directories)))  # fmt: skip
        ended = await child.end()
        case = _case(ended, limits)
        binary = child.fetched()
    finally:
        child.release()
    if case.outcome is JobOutcome.OK and binary:
        return None, binary
    outcome = JobOutcome.COMPILE_ERROR if case.outcome in (JobOutcome.OK, JobOutcome.RUNTIME_ERROR) else case.outcome
    text = case.stderr.decode("utf-8", "replace")
    limit = outcomes.LIMIT_NAMES.get(outcome)
    return JobResult(outcome, cpu_s=case.cpu_s, wall_s=case.wall_s, limit_hit=limit, error=text), b""


async def _run(
    slot: SlotHandle,
    row: LanguageCommands,
    argv: list[str],
    source: str,
    stdin: bytes,
    binary: bytes,
    limits: Limits,
    directories: tuple[str, ...],
) -> CaseResult:
    child = await slot.begin(limits, reserve_bytes=row.reserve_bytes)
    try:
        child.feed_stdin(stdin + binary)
        child.allow(1)  # that exec failed
        child.send(header("exec", "" if binary else source, limits, argv=argv, env=environment(row, directories),
                         binary=[len(stdin), len(binary)], file=BINARY if binary else row.source,
                         reserve=row.reserve_bytes, more_files=row.files))  # fmt: skip
        ended = await child.end()
        return _case(ended, replace(limits, memory_bytes=limits.memory_bytes + row.reserve_bytes))
    finally:
        child.release()


def _case(ended: Ended, limits: Limits) -> CaseResult:
    """Derives a run's result. The job socket closes at exec, so a frame can only be the child's report that exec
    failed."""
    if ended.frames:
        raise SlotDied(f"exec failed: {ended.stderr[-200:].decode(errors='replace')}")
    return outcomes.case_of_exit(ended, limits)
