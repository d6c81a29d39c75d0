"""Derives outcomes from what a child left behind. Everything that a child sends is a claim; what its slot saw comes
first.

A program can only ever claim outcomes that count against it or `ok`: never that the sandbox failed, which
would let it escape a verdict.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

from berry.sandboxes import wire
from berry.sandboxes.base import CaseResult, JobOutcome, Limits
from berry.sandboxes.host.records import Ended

CLAIMABLE = frozenset({
    JobOutcome.OK, JobOutcome.RUNTIME_ERROR, JobOutcome.MEMORY_LIMIT, JobOutcome.OUTPUT_LIMIT, JobOutcome.DISK_LIMIT,
    JobOutcome.PROCESS_LIMIT, JobOutcome.VIOLATION, JobOutcome.UNSUPPORTED_VALUE, JobOutcome.COMPILE_ERROR,
    JobOutcome.MISSING_ENTRY_POINT,
})  # fmt: skip
LIMIT_NAMES = {
    JobOutcome.CPU_LIMIT: "cpu", JobOutcome.WALL_LIMIT: "wall", JobOutcome.MEMORY_LIMIT: "memory",
    JobOutcome.OUTPUT_LIMIT: "output", JobOutcome.DISK_LIMIT: "disk", JobOutcome.PROCESS_LIMIT: "processes",
}  # fmt: skip
_BY_LIMIT = {
    "cpu": JobOutcome.CPU_LIMIT, "wall": JobOutcome.WALL_LIMIT, "memory": JobOutcome.MEMORY_LIMIT, "output":
    JobOutcome.OUTPUT_LIMIT, "disk": JobOutcome.DISK_LIMIT, "processes": JobOutcome.PROCESS_LIMIT,
}  # fmt: skip
DECODED_ON_LOOP_BYTES = 1 << 16
"""Frames of more bytes than these are decoded and encoded in a thread, so that the event loop goes on."""
T = TypeVar("T")
KEPT_STDERR_BYTES = 2000
"""How much of stderr, and of an error's text, a result keeps."""
_OUT_OF_MEMORY = (b"std::bad_alloc", b"heap out of memory", b"Cannot allocate memory", b"out of memory")


def claimed(name: object) -> JobOutcome:
    """Reads the outcome that a child claims, or a violation when it claims what it may not."""
    try:
        outcome = JobOutcome(str(name))
    except ValueError:
        return JobOutcome.VIOLATION
    return outcome if outcome in CLAIMABLE else JobOutcome.VIOLATION


ReadOutput = Callable[[int, int, int], bytes]
"""(stream, start, end) to bytes of stdout (1) or stderr (2)."""


OutputProgress = tuple[int, int, float]
"""Bytes of stdout and stderr, and CPU seconds, so far."""


def case_of_frame(
    body: bytes, read: ReadOutput, start: OutputProgress, *, references: bool = False
) -> tuple[CaseResult, OutputProgress]:
    """Decodes a call's result from its frame, and how far its output reached. Raises WireError."""
    message = wire.loads(body, references=references)
    if type(message) is not list or len(message) != 7:
        raise wire.WireError("not a result")
    name, value, error_type, error, out, err, cpu_s = message
    if type(out) is not int or type(err) is not int or type(cpu_s) is not float or not 0 <= cpu_s < 1e9:
        raise wire.WireError("not a result")
    stdout = read(1, start[0], out) if out > start[0] else b""
    stderr = read(2, start[1], err)[-KEPT_STDERR_BYTES:] if err > start[1] else b""
    outcome = claimed(name)
    text = _printable(error, KEPT_STDERR_BYTES) if type(error) is str else None
    kind = _printable(error_type, 100) if type(error_type) is str else None
    value = value if outcome is JobOutcome.OK else None
    case = CaseResult(outcome, value, stdout, stderr, text, kind, cpu_s=max(0.0, cpu_s - start[2]))
    return case, (out, err, cpu_s)


async def off_loop(work: Callable[[], T], n_bytes: int) -> T:
    """Does work over so many bytes of frames, in a thread where they are many: the event loop goes on meanwhile."""
    if n_bytes > DECODED_ON_LOOP_BYTES:
        return await asyncio.get_running_loop().run_in_executor(_decoder(), work)
    return work()


async def decode_calls(ended: Ended, limits: Limits, n: int) -> tuple[CaseResult, list[CaseResult]]:
    """Derives the results of calls as `cases_of_calls` does, off the event loop where the frames are long."""
    return await off_loop(lambda: cases_of_calls(ended, limits, n), sum(map(len, ended.frames)))


@lru_cache(maxsize=1)
def _decoder() -> ThreadPoolExecutor:
    """The one thread that decodes long frames. Several would be no faster, and the C library keeps for each of them the
    memory of the largest value that it ever decoded."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoder")


def _printable(text: str, most: int) -> str:
    """Shortens a child's text and replaces what no encoding can write."""
    return text[:most].encode("utf-8", "replace").decode()


def forced(ended: Ended, limits: Limits) -> tuple[JobOutcome, str] | None:
    """Names how a child was ended from outside or by the kernel, with a text; None when it ended by itself."""
    if ended.limit in _BY_LIMIT:
        outcome = _BY_LIMIT[ended.limit]
        return outcome, f"{LIMIT_NAMES[outcome]} limit"
    if max(ended.stdout_bytes, ended.stderr_bytes) > limits.output_bytes:
        return JobOutcome.OUTPUT_LIMIT, "output limit"
    if not os.WIFSIGNALED(ended.status):
        return None
    number = os.WTERMSIG(ended.status)
    text = f"killed by {_signal_name(number)}"
    if number == signal.SIGXCPU or ended.cpu_s > limits.cpu_s:
        return JobOutcome.CPU_LIMIT, "cpu limit"
    if number == signal.SIGSYS:
        return JobOutcome.VIOLATION, "a forbidden system call"
    if number == signal.SIGXFSZ:
        return JobOutcome.DISK_LIMIT, "disk limit"
    if out_of_memory(ended, limits):
        return JobOutcome.MEMORY_LIMIT, f"memory limit ({text})"
    return JobOutcome.RUNTIME_ERROR, text


def out_of_memory(ended: Ended, limits: Limits) -> bool:
    """Whether an abnormal end looks like the memory limit's doing."""
    tail = ended.stderr[-4096:]
    return ended.peak_bytes > 0.9 * limits.memory_bytes or any(text in tail for text in _OUT_OF_MEMORY)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def case_of_program(ended: Ended, limits: Limits) -> CaseResult:
    """Derives a Python program's result: from what the slot saw, then its exit status, then its own claim."""
    if ended.broken is not None:
        return replace(case_of_exit(ended, limits), outcome=ended.broken[0], error=ended.broken[1])
    case = case_of_exit(ended, limits)
    if case.outcome is JobOutcome.RUNTIME_ERROR and ended.outcome not in (None, "ok"):
        return replace(case, outcome=claimed(ended.outcome))
    return case


def case_of_exit(ended: Ended, limits: Limits) -> CaseResult:
    """Derives any program's result: from what the slot saw, then its exit status."""
    code = os.waitstatus_to_exitcode(ended.status)
    outcome, error = forced(ended, limits) or (JobOutcome.OK, None)
    if outcome is JobOutcome.OK and code != 0:
        outcome = JobOutcome.MEMORY_LIMIT if out_of_memory(ended, limits) else JobOutcome.RUNTIME_ERROR
        error = f"exit status {code}"
    return CaseResult(
        outcome, stdout=ended.stdout, stderr=ended.stderr[-KEPT_STDERR_BYTES:], error=error, exit_code=code,
        cpu_s=ended.cpu_s, wall_s=ended.wall_s, peak_bytes=ended.peak_bytes,
    )  # fmt: skip


def cases_of_calls(ended: Ended, limits: Limits, n: int) -> tuple[CaseResult, list[CaseResult]]:
    """Derives the results of loading the source and of each of `n` calls."""
    cases: list[CaseResult] = []
    at: OutputProgress = (0, 0, 0.0)
    stopped: CaseResult | None = None
    for body in ended.frames:
        try:
            case, at = case_of_frame(body, ended.read, at)
        except wire.WireError as e:
            stopped = CaseResult(JobOutcome.VIOLATION, error=str(e))
            break
        cases.append(case)
    if ended.broken is not None and ended.broken[0] is JobOutcome.VIOLATION:
        stopped = early_end(ended, limits)  # it may have sent some results early: none of them is believed
        cases = []
    elif stopped is None and len(cases) < n + 1 and (not cases or cases[0].outcome is JobOutcome.OK):
        stopped = early_end(ended, limits)
        if ended.loaded and not cases:
            cases = [CaseResult(JobOutcome.OK)]
    load, *calls = cases or [stopped or CaseResult(JobOutcome.VIOLATION)]
    if stopped is not None and cases and len(calls) < n:
        calls.append(stopped)
    calls += [CaseResult(JobOutcome.NOT_RUN)] * (n - len(calls))
    return load, calls


def early_end(ended: Ended, limits: Limits) -> CaseResult:
    """Derives the result of the case during which the child ended."""
    if ended.broken is not None:
        return CaseResult(ended.broken[0], error=ended.broken[1])
    end = forced(ended, limits)
    if end is None:
        code = os.waitstatus_to_exitcode(ended.status)
        end = JobOutcome.RUNTIME_ERROR, f"the process exited (status {code}) before the call returned"
    return CaseResult(end[0], stderr=ended.stderr[-KEPT_STDERR_BYTES:], error=end[1])
