"""Runs the catalogue of attacks on this host, each followed by an honest neighbour, and reports what was stopped.

    attack_host(config) ─► a pool of its own ─► attack, honest job ─► AttackResult (group, name, stopped, detail)

An attack is stopped when it did not get what it was after, ended with an outcome that counts against it where it must,
left the event loop running and this process no larger, and the honest job after it got its own answer. Every slot that
dies on the way counts against the attack.
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from berry.sandboxes.attacks import host, limits, pool, protocol, verdicts
from berry.sandboxes.base import MIB, Call, Job, JobOutcome, JobResult, JudgeStatus, Limits
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.pool import SandboxPool

TIGHT = Limits(cpu_s=0.5, wall_s=1.5, memory_bytes=192 * MIB, output_bytes=MIB // 4, disk_bytes=4 * MIB)
PATIENT = Limits(cpu_s=5, wall_s=20, memory_bytes=192 * MIB, output_bytes=MIB // 4, disk_bytes=4 * MIB)
SHELL = Limits(cpu_s=1, wall_s=3, memory_bytes=192 * MIB, processes=32)
MAX_STALL_S = 2.0
"""Longest time for which an attack may keep the event loop from running, on a host that is not busy."""
MAX_GROWTH_BYTES = 64 * MIB
"""Most by which an attack may enlarge this process."""
MOST_TIMERS = 1000
"""Timers of the kernel that a job may hold."""
RECYCLE_AFTER = 20
"""Jobs after which a slot is replaced, so that what an attack locks is soon needed."""
HONEST = Job("def f(x):\n    open('note', 'w').write(str(x))\n    return int(open('note').read()) + 1",
             entry_point="f", calls=(Call((41,)),))  # fmt: skip
MakeAttack = Callable[[SandboxPool], Awaitable[str]]
"""Makes an attack; returns what it got, empty where it was stopped."""


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What became of an attack; `detail` says what it got, or what it did to others, where it was not stopped."""

    group: str
    name: str
    stopped: bool
    detail: str = ""


async def attack_host(config: PoolConfig) -> AsyncIterator[AttackResult]:
    """Runs every attack on a pool made with this configuration. Raises SandboxError where no pool starts."""
    async with SandboxPool(config) as target:
        for group, attempts in catalogue().items():
            for name, attempt in attempts.items():
                yield await _one(target, group, name, attempt)


def catalogue() -> dict[str, dict[str, MakeAttack]]:
    """Lists all attacks for this machine type, by group and name."""
    groups: dict[str, dict[str, MakeAttack]] = {
        "reach for the host": {name: _program(source + "\nprint('DONE')") for name, source in host.FORBIDDEN.items()},
        "reach for a socket": {"send_to_a_path": _send_to_a_path, "fill_socket_buffers": _fill_socket_buffers},
        "fill the kernel": {"timers": _make_timers},
        "lock the pool": {name: _program(_try(line)) for name, line in pool.LOCKS.items()}
        | {f"shell_{name}": _shell(source) for name, source in pool.SHELL.items()},
        "leave a trace": {"modes_times_names_and_sizes": _leave_traces},
        "flood the host": {name: _flood(source) for name, source in protocol.FLOODS.items()},
        "slow the host": {name: _slow(value) for name, value in protocol.SLOW.items()},
        "use too much": {name: _overuse(source, outcome) for name, (source, outcome) in limits.OVER.items()}
        | {f"shell_{name}": _shell_overuse(source, outcome) for name, (source, outcome) in limits.SHELL_OVER.items()}
        | {"eat_memory_that_is_shared": _eat_memory(limits.SHARED_MEMORY)}
        | {"eat_memory_of_page_tables": _eat_memory(limits.PAGE_TABLES)},
        "hide a crash": {name: _crash(line) for name, line in verdicts.CLOSED.items()},
        "be paid for nothing": {name: _hack(source) for name, source in verdicts.HACKS.items()},
    }
    if platform.machine() == "x86_64":
        raw = {name: _program(host.SYSCALL + host.DENIED.format(call)) for name, call in host.RAW.items()}
        fatal = {name: _program(f"{host.SYSCALL}{call}\nprint('DONE')") for name, call in host.FATAL.items()}
        groups["call the kernel"] = raw | fatal
    return groups


async def _one(target: SandboxPool, group: str, name: str, attempt: MakeAttack) -> AttackResult:
    before, grown = _failures(target), _resident_bytes()
    stalls = asyncio.create_task(_longest_stall())
    await asyncio.sleep(0)
    try:
        detail = await attempt(target)
    finally:
        stalls.cancel()
    stall_s = await stalls
    after = await target.run(HONEST)
    if after.outcome is not JobOutcome.OK or after.cases[0].value != 42:
        detail = detail or f"an honest job afterwards ended as {after.outcome}: {after.error or after.cases[0].value!r}"
    if _failures(target) > before:
        detail = detail or "a slot of the pool died"
    busy = target.limits_now(PATIENT).wall_s / (PATIENT.wall_s * target.calibration)
    if stall_s > MAX_STALL_S * busy:
        detail = detail or f"the event loop stood still for {stall_s:.1f} s"
    if (growth := _resident_bytes() - grown) > MAX_GROWTH_BYTES:
        detail = detail or f"this process grew by {growth >> 20} MiB"
    return AttackResult(group, name, not detail, detail)


def _failures(target: SandboxPool) -> int:
    metrics = target.metrics()
    return metrics["slots_failed"] + metrics["templates_failed"] + metrics["retries"]


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _longest_stall() -> float:
    """Measures, until it is cancelled, the longest time for which the event loop did not come round."""
    worst, start = 0.0, time.monotonic()
    try:
        while True:
            start = time.monotonic()
            await asyncio.sleep(0.01)
            worst = max(worst, time.monotonic() - start)
    except asyncio.CancelledError:
        return max(worst, time.monotonic() - start)


def _try(line: str) -> str:
    return f"import os\ntry: {line}\nexcept OSError: pass"


def _excused(outcome: JobOutcome) -> bool:
    """Whether an outcome would let a job off: the sandbox's fault, not its own."""
    return outcome is not JobOutcome.OK and not outcome.blames_program


def _got(result: JobResult) -> str:
    """What a program got, by what it printed and how it ended."""
    if any(b"DONE" in case.stdout for case in result.cases):
        return "it was done"
    return f"it was excused as {result.outcome}" if _excused(result.outcome) else ""


def _program(source: str) -> MakeAttack:
    async def attempt(target: SandboxPool) -> str:
        return _got(await target.run(Job(source, limits=TIGHT)))

    return attempt


def _shell(source: str) -> MakeAttack:
    async def attempt(target: SandboxPool) -> str:
        result = await target.run(Job(source, language="shell", limits=PATIENT))
        return "" if result.outcome is JobOutcome.MISSING_TOOL else _got(result)

    return attempt


def _flood(source: str) -> MakeAttack:
    return _program(protocol.FRAME + source)


def _slow(value: str) -> MakeAttack:
    source = protocol.FRAME + protocol.MAKE.replace("VALUE", value)

    async def attempt(target: SandboxPool) -> str:
        result = await target.run(Job(source, entry_point="f", calls=(Call((1,)),), limits=PATIENT))
        return f"it was excused as {result.outcome}" if _excused(result.outcome) else ""

    return attempt


def _overuse(source: str, expected: JobOutcome | tuple[JobOutcome, ...]) -> MakeAttack:
    allowed = expected if isinstance(expected, tuple) else (expected,)
    timed = not {JobOutcome.CPU_LIMIT, JobOutcome.WALL_LIMIT}.isdisjoint(allowed)

    async def attempt(target: SandboxPool) -> str:
        start = time.monotonic()
        given = TIGHT if timed else PATIENT
        allowed_s = target.limits_now(given).wall_s
        result = await target.run(Job(source, limits=given))
        if result.outcome not in (*allowed, JobOutcome.CPU_LIMIT, JobOutcome.WALL_LIMIT):
            return f"it ended as {result.outcome}, not as {' or '.join(allowed)}"
        late = time.monotonic() - start - allowed_s
        return f"it went on for {late:.1f} s beyond its limit" if late > MAX_STALL_S else ""

    return attempt


def _shell_overuse(source: str, allowed: tuple[JobOutcome, ...]) -> MakeAttack:
    async def attempt(target: SandboxPool) -> str:
        result = await target.run(Job(source, language="shell", limits=SHELL))
        if result.outcome in (*allowed, JobOutcome.CPU_LIMIT, JobOutcome.WALL_LIMIT, JobOutcome.MISSING_TOOL):
            return ""
        return f"it ended as {result.outcome}, not as {' or '.join(allowed)}"

    return attempt


def _crash(line: str) -> MakeAttack:
    async def attempt(target: SandboxPool) -> str:
        for crash in verdicts.CRASHES:
            result = await target.run(Job(f"exec({line!r})\nexec({crash!r})", limits=PATIENT))
            if not result.outcome.blames_program:
                return f"{crash!r} ended as {result.outcome}"
        return ""

    return attempt


def _hack(source: str) -> MakeAttack:
    async def attempt(target: SandboxPool) -> str:
        result = await target.judge(Job(source, entry_point="f", limits=TIGHT), verdicts.TESTS, limits=PATIENT)
        against = (JudgeStatus.FAILED, JudgeStatus.CANDIDATE)
        return "" if result.status in against else f"the judge said {result.status}: {result.message or ''}"

    return attempt


async def _send_to_a_path(target: SandboxPool) -> str:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        os.chmod(folder, 0o777)
        path = os.path.join(folder, "s")
        ours.bind(path)
        os.chmod(path, 0o777)
        return _got(await target.run(Job(host.PATH_SENDING.replace("PATH", repr(path)), limits=TIGHT)))


async def _fill_socket_buffers(target: SandboxPool) -> str:
    result = await target.run(Job(host.SOCKET_MEMORY, limits=PATIENT))
    held = int(result.cases[0].stdout or 0)
    return f"it held {held >> 20} MiB beside its memory" if held > 16 * MIB else ""


async def _make_timers(target: SandboxPool) -> str:
    result = await target.run(Job(host.TIMERS, limits=PATIENT))
    made = int(result.cases[0].stdout or 0)
    return f"it held {made} timers" if made > MOST_TIMERS else ""


def _eat_memory(source: str) -> MakeAttack:
    async def attempt(target: SandboxPool) -> str:
        result = await target.run(Job(source, language="cpp", limits=PATIENT))
        if result.outcome in (JobOutcome.MISSING_TOOL, JobOutcome.MEMORY_LIMIT):
            return ""
        return _got(result) or f"it ended as {result.outcome}, not as memory_limit"

    return attempt


async def _leave_traces(target: SandboxPool) -> str:
    clean = {(await target.run(Job(pool.TRACE))).cases[0].stdout for _ in range(10)}
    for _ in range(10):  # as many as a slot has folders
        await target.run(Job(pool.MARKS, limits=PATIENT))
    marked = {(await target.run(Job(pool.TRACE))).cases[0].stdout for _ in range(10)}
    return "" if marked == clean else "a later job can see what an earlier one left"
