"""Keeps sessions for tools between calls: one for each path of calls that may go on.

    SessionCall(calls so far, snippet) ─► the session of its path, or a fresh one in which those calls are run again
                                          ─► SessionReply ─► the session waits under its longer path

A path that goes on keeps its session. Where two paths part, the first to go on takes it, and the other's is rebuilt:
its calls are run again in a fresh session, and what they say is compared with what they said. Few sessions wait: the
one that has waited longest is ended for a new one. At most `slots` calls run at once; trees take turns for the slots.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

from berry.sandboxes.base import MIB, CaseResult, Job, JobOutcome, Limits, Profile, SandboxError, SlotDied
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.host.queue import SlotQueue
from berry.sandboxes.jobs.session import Session
from berry.sandboxes.metrics import Metrics
from berry.sandboxes.pool import SandboxPool

SESSION_WALL_S = 3600.0  # that a session may live, idle or not
STALE_S = 1800.0  # after which a waiting session is not used any more, since it may be near its end
_QUEUE = ("slots", "waiting", "running", "jobs", "queue_s", "service_s", "service_s2")
FAULT_RETRIES = 2  # fresh sessions after the sandbox itself failed


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may use; times are scaled by the host's calibration factor. `call_wall_s`: of each call."""

    call_wall_s: float = 10.0
    cpu_s: float = 30.0
    memory_mb: int = 512
    output_kb: int = 1024

    def of_session(self) -> Limits:
        """The limits of the session's process: CPU in seconds, memory and output in bytes."""
        return Limits(
            cpu_s=self.cpu_s,
            wall_s=SESSION_WALL_S,
            memory_bytes=self.memory_mb * MIB,
            output_bytes=self.output_kb * 1024,
            value_bytes=self.output_kb * 1024,
        )


@dataclass(frozen=True, slots=True)
class SessionProgram:
    """What a session has loaded before its first call: `source` is run, then its function `begin` is called with
    `given`, plain data. Each call's text is the one argument of its function `call`, which returns text."""

    source: str
    begin: str
    call: str
    given: tuple[Any, ...] = ()


class ProgramFailed(Exception):
    """Raised where a session's program can't be loaded; the text says what it raised."""


@dataclass(frozen=True, slots=True)
class SessionCall:
    """A snippet to be run where the snippets of `past` were run before, in order; each with what it said. `tree`: whose
    path it is; sessions are shared by nobody else. `most_chars`: of what is said, the rest is left out. `program`: what
    makes calls in place of Python itself. `alone`: in a session of its own, which ends with the call."""

    tree: str
    past: tuple[tuple[str, str], ...]
    snippet: str
    limits: SessionLimits = SessionLimits()
    most_chars: int = 2000
    profile: Profile = "numeric"
    program: SessionProgram | None = None
    alone: bool = False

    @property
    def key(self) -> str:
        """Names the session that the call goes on with."""
        return path_key(self.tree, [snippet for snippet, _ in self.past])

    @property
    def next_key(self) -> str:
        """Names that session once the call has been made."""
        return path_key(self.tree, [*(snippet for snippet, _ in self.past), self.snippet])


def path_key(tree: str, snippets: Sequence[str]) -> str:
    """Names a path of calls in a tree: 32 hex."""
    digester = blake2b(digest_size=16)
    for part in (tree, *snippets):
        raw = part.encode("utf-8", "surrogatepass")
        digester.update(b"%d:" % len(raw) + raw)
    return digester.hexdigest()


@dataclass(frozen=True, slots=True)
class SessionReply:
    """What a call said, and how it ended. `ended`: its session is gone, and what it held. `ms`: milliseconds that the
    call took, `replay_ms` those before it to rebuild its session by `replayed` calls; `nondeterministic`: some of them
    did not say what they had said. `failed`: the sandbox failed, nothing was run."""

    text: str
    outcome: JobOutcome = JobOutcome.OK
    ended: bool = False
    ms: float = 0.0
    replay_ms: float = 0.0
    replayed: int = 0
    nondeterministic: bool = False

    @property
    def failed(self) -> bool:
        """Whether the session itself failed, not the code in it: nothing is known of what the code would say."""
        return self.outcome in (JobOutcome.FAULT, JobOutcome.OVERLOADED, JobOutcome.MISSING_TOOL)


@dataclass(slots=True)
class _Kept:
    """A session that waits, with what closes it, since when."""

    session: Session
    closing: AsyncExitStack
    since_s: float = field(default_factory=time.monotonic)


class SessionKeeper:
    """`await start()`, then `call` from any task of the same event loop; `await close()`."""

    def __init__(self, pool: PoolConfig, *, slots: int, sessions: int, profile: str = "numeric") -> None:
        self._slots, self._most, self._profile = slots, max(sessions, slots), profile
        self._spare = 2 * slots  # that are got ready before they are needed
        own = replace(
            pool, slots=self._most + slots + self._spare, warm=(profile,), warm_slots=self._spare, fork_ahead=False
        )
        self._pool = SandboxPool(own)
        self._started = False
        self._queue = SlotQueue(slots, sys.maxsize)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._counts: Counter[str] = Counter()
        self._served = Metrics()
        self._tidying: asyncio.Task[None] | None = None
        self._replay_s = 0.0

    async def start(self) -> None:
        """Loads what sessions have loaded. Raises SandboxError where this host can't confine programs."""
        await self._pool.start()
        self._started = True

    async def call(self, request: SessionCall) -> SessionReply:
        """Runs one snippet in the session of its path. Never raises for what the snippet does, nor for a sandbox that
        fails: both are outcomes."""
        asked = time.monotonic()
        slot = await self._queue.take(request.tree, None)
        began = time.monotonic()
        self._served.running += 1
        try:
            reply = await self._call(request)
        finally:
            self._served.running -= 1
            self._served.served(began - asked, time.monotonic() - began)
            self._queue.give(slot)
        self._counts[f"outcome_{reply.outcome}"] += 1
        self._counts["rebuilt"] += reply.replayed > 0
        self._counts["replayed"] += reply.replayed
        self._replay_s += reply.replay_ms / 1e3
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy())
        return reply

    async def close(self) -> None:
        """Ends every session."""
        if self._tidying is not None:
            await self._tidying
        kept, self._kept = self._kept, OrderedDict()
        for one in kept.values():
            await one.closing.aclose()
        if self._started:
            self._started = False
            await self._pool.close()

    def resize(self, slots: int) -> None:
        """Lets 1 … `slots` (as it was made with) calls run at once; those that run go on."""
        self._queue.resize(min(max(slots, 1), self._slots))

    def metrics(self) -> dict[str, float]:
        """`call_slots`, `call_waiting`, `call_running`, `call_jobs`, `call_queue_s`, `call_service_s`,
        `call_service_s2` and `call_service:K` as in berry.sandboxes.metrics; `call_sessions` that wait now; totals of
        `call_outcome_*`, `call_evicted` (sessions), `call_rebuilt` (calls that found no session of their path),
        `call_replayed` (calls made again for those) and `call_replay_s`, the part of `call_service_s` that this
        took."""
        served = self._served.snapshot(waiting=self._queue.waiting, slots=self._queue.open)
        return {
            **{f"call_{name}": float(served[name]) for name in _QUEUE},
            **{f"call_service:{bucket}": float(n) for bucket, n in served["service_counts"].items()},
            **{f"call_{name}": float(count) for name, count in self._counts.items()},
            "call_sessions": float(len(self._kept)),
            "call_replay_s": self._replay_s,
        }

    async def _call(self, request: SessionCall) -> SessionReply:
        error = ""
        for _ in range(FAULT_RETRIES + 1):
            try:
                return await self._try(request)
            except ProgramFailed as fault:
                return SessionReply(str(fault), JobOutcome.FAULT, ended=True)
            except (SlotDied, SandboxError) as fault:
                error = str(fault)
        return SessionReply(error, JobOutcome.FAULT, ended=True)

    async def _try(self, request: SessionCall) -> SessionReply:
        replay_ms, replayed, differs = 0.0, 0, False
        kept = self._kept.pop(request.key, None)
        if kept is not None and time.monotonic() - kept.since_s > STALE_S:
            await kept.closing.aclose()
            kept = None
        if kept is None:
            began = time.monotonic()
            kept = await self._open(request)
            for snippet, said in request.past:
                case = await self._run(kept, snippet, request)
                replayed += 1
                differs = differs or _said(case, request) != said
                if not kept.session.alive:  # it did not end when it ran first
                    differs = True
                    await kept.closing.aclose()
                    kept = await self._open(request)
            replay_ms = (time.monotonic() - began) * 1e3
        began = time.monotonic()
        try:
            case = await self._run(kept, request.snippet, request)
        except BaseException:
            await kept.closing.aclose()
            raise
        ended = request.alone or not kept.session.alive
        reply = SessionReply(
            _said(case, request),
            case.outcome,
            ended,
            (time.monotonic() - began) * 1e3,
            replay_ms,
            replayed,
            differs,
        )
        if ended:
            await kept.closing.aclose()
        else:
            await self._keep(request.next_key, kept)
        return reply

    async def _open(self, request: SessionCall) -> _Kept:
        closing = AsyncExitStack()
        job = Job("", profile=request.profile, limits=request.limits.of_session(), key=request.tree)
        session = await closing.enter_async_context(self._pool.open(job))
        try:
            if request.program is not None:
                await self._begin(session, request.program, request.limits)
        except BaseException:
            await closing.aclose()
            raise
        return _Kept(session, closing)

    async def _begin(self, session: Session, program: SessionProgram, limits: SessionLimits) -> None:
        """Loads and begins a program. Raises ProgramFailed."""
        case = await self._within(session, session.exec(program.source), limits)
        if case.outcome is JobOutcome.OK:
            case = await self._within(session, session.call(program.begin, program.given), limits)
        if case.outcome is not JobOutcome.OK:
            raise ProgramFailed(_error_of(case))

    async def _keep(self, key: str, kept: _Kept) -> None:
        kept.since_s = time.monotonic()
        before = self._kept.pop(key, None)  # of an equal path, made a second time
        if before is not None:
            await before.closing.aclose()
        self._kept[key] = kept

    async def _tidy(self) -> None:
        """Ends sessions that are too many and gets slots ready for the next ones, after a call, so that none waits for
        it."""
        while len(self._kept) > self._most:
            _, oldest = self._kept.popitem(last=False)
            self._counts["evicted"] += 1
            await oldest.closing.aclose()
        with suppress(SandboxError, SlotDied):  # told by the call that needs the slot
            await self._pool.get_ready(self._profile, self._spare)

    async def _run(self, kept: _Kept, snippet: str, request: SessionCall) -> CaseResult:
        """Runs a snippet; one that takes too long, or prints too much, ends its session."""
        session, program = kept.session, request.program
        asked = session.exec(snippet) if program is None else session.call(program.call, (snippet,))
        return await self._within(session, asked, request.limits)

    async def _within(
        self, session: Session, asked: Coroutine[Any, Any, CaseResult], limits: SessionLimits
    ) -> CaseResult:
        """Awaits what a session was asked, within the limits of a call."""
        try:
            async with asyncio.timeout(limits.call_wall_s * self._pool.calibration):
                case = await asked
        except TimeoutError:
            case = CaseResult(JobOutcome.WALL_LIMIT, error=f"no result within {limits.call_wall_s:g} s")
            session.give_up(case)
        if session.alive and session.output_bytes >= limits.output_kb * 1024:
            case = replace(case, outcome=JobOutcome.OUTPUT_LIMIT, error=f"it printed {limits.output_kb} kB or more")
            session.give_up(case)
        return case


def _said(case: CaseResult, request: SessionCall) -> str:
    """What a call says: a program what it returns, Python what it prints too."""
    return said_by(case if request.program is None else replace(case, stdout=b""), request.most_chars)


def said_by(case: CaseResult, most_chars: int) -> str:
    """What a call says to the model: what it printed, the value of its last expression, its error."""
    parts = [case.stdout.decode("utf-8", "replace").rstrip("\n")]
    if case.value is not None:
        parts.append(case.value if isinstance(case.value, str) else repr(case.value))
    if case.outcome is not JobOutcome.OK:
        parts.append(_error_of(case))
    return shortened("\n".join(part for part in parts if part), most_chars)


def _error_of(case: CaseResult) -> str:
    if case.error_type is not None:
        return f"{case.error_type}: {case.error}" if case.error else case.error_type
    return f"[{case.outcome.replace('_', ' ')}: {case.error}]" if case.error else f"[{case.outcome}]"


def shortened(text: str, most: int) -> str:
    """A text of at most `most` characters and a marker: its beginning and its end."""
    left = len(text) - most
    if left <= 0:
        return text
    head = (most + 1) // 2
    return f"{text[:head]}\n[… {left} characters left out …]\n{text[len(text) - (most - head) :]}"
