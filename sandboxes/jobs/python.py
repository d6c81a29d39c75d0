"""Runs a Python job on one slot: a program once for each input, or calls of a function."""

from __future__ import annotations

import marshal
from dataclasses import replace
from functools import lru_cache
from typing import Any

from berry.sandboxes import wire
from berry.sandboxes.base import Call, CaseResult, Job, JobOutcome, JobResult, Limits
from berry.sandboxes.host import outcomes
from berry.sandboxes.host.records import Ended
from berry.sandboxes.host.slot import SlotHandle
from berry.sandboxes.host.slots import Slots


def header(mode: str, source: str, limits: Limits, **more: Any) -> bytes:
    """Encodes the frame that opens a child's job: plain data in the interpreter's own form, for a child of the same
    one. The source may hold anything, lone surrogates included."""
    return wire.frame(marshal.dumps({"mode": mode, "source": source, "limits": _limit_numbers(limits), **more}))


@lru_cache(maxsize=256)
def _limit_numbers(limits: Limits) -> dict[str, float]:
    return {name: getattr(limits, name) for name in limits.__slots__}


def call_frame(name: str | int, args: Any, kwargs: Any) -> bytes:
    """Encodes the frame for one call; raises wire.Unsupported."""
    return wire.frame(wire.dumps(["call", name, args, kwargs]))


def stdin_bytes(text: str | bytes) -> bytes:
    """Encodes standard input; text may hold anything, lone surrogates included."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


async def run_python(slots: Slots, number: int, job: Job, limits: Limits) -> JobResult:
    """Runs every case of a Python job; raises SlotDied."""
    slot = await slots.handle(job.profile, "python", number)
    if job.entry_point is None:
        cases = []
        for text in job.stdin:
            cases.append(await _run_program(slot, job.source, text, limits))
            if cases[-1].outcome is not JobOutcome.OK and job.stop_on_error:
                break
        return programs_result(cases, len(job.stdin))
    if not job.fresh_per_case:
        return await _run_calls(slot, job, job.calls, limits)
    runs = []
    for call in job.calls:
        runs.append(await _run_calls(slot, job, (call,), limits))
        if runs[-1].outcome is not JobOutcome.OK and job.stop_on_error:
            break
    return _merged(runs, len(job.calls))


async def _run_program(slot: SlotHandle, source: str, stdin: str | bytes, limits: Limits) -> CaseResult:
    child = await slot.begin(limits)
    try:
        child.feed_stdin(stdin_bytes(stdin))
        child.send(header("program", source, limits))
        ended = await child.end()
        return outcomes.case_of_program(ended, limits)
    finally:
        child.release()


async def _run_calls(slot: SlotHandle, job: Job, calls: tuple[Call, ...], limits: Limits) -> JobResult:
    assert job.entry_point is not None
    payload = bytearray(header("calls", job.source, limits, module="solution", count=len(calls)))
    for call in calls:
        payload += call_frame(job.entry_point, call.args, dict(call.kwargs))
    child = await slot.begin(limits)
    try:
        child.expect(len(calls) + 1)
        child.send(bytes(payload))
        ended = await child.end()
        load, cases = await outcomes.decode_calls(ended, limits, len(calls))
    finally:
        child.release()
    return _calls_result(load, cases, ended)


def _calls_result(load: CaseResult, cases: list[CaseResult], ended: Ended) -> JobResult:
    worst = next((c for c in (load, *cases) if c.outcome is not JobOutcome.OK), load)
    return JobResult(
        worst.outcome, tuple(cases), ended.cpu_s, ended.wall_s, ended.peak_bytes,
        ended.stdout_bytes + ended.stderr_bytes, outcomes.LIMIT_NAMES.get(worst.outcome), worst.error,
    )  # fmt: skip


def programs_result(cases: list[CaseResult], n: int) -> JobResult:
    """Combines a program's runs to the job's result; those of `n` that are missing were not run."""
    worst = next((c for c in cases if c.outcome is not JobOutcome.OK), CaseResult(JobOutcome.OK))
    return JobResult(
        worst.outcome, (*cases, *[CaseResult(JobOutcome.NOT_RUN)] * (n - len(cases))), sum(c.cpu_s for c in cases),
        sum(c.wall_s for c in cases), max((c.peak_bytes for c in cases), default=0),
        sum(len(c.stdout) + len(c.stderr) for c in cases), outcomes.LIMIT_NAMES.get(worst.outcome), worst.error,
    )  # fmt: skip


def _merged(runs: list[JobResult], n: int) -> JobResult:
    worst = next((r for r in runs if r.outcome is not JobOutcome.OK), JobResult(JobOutcome.OK))
    cases = tuple(case for run in runs for case in run.cases)
    return replace(
        worst,
        cases=cases + (CaseResult(JobOutcome.NOT_RUN),) * (n - len(cases)),
        cpu_s=sum(r.cpu_s for r in runs),
        wall_s=sum(r.wall_s for r in runs),
        peak_bytes=max((r.peak_bytes for r in runs), default=0),
        output_bytes=sum(r.output_bytes for r in runs),
    )
