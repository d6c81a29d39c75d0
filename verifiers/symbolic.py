"""Runs the symbolic rung: a few warm, confined workers with sympy loaded, killed from outside when they take too long.

    Symbolic.decide ─► a free worker (a session of a pool of its own) ─► maths.worker.decide ─► Decision

A worker serves many questions; one that is killed, dies or has served its share is replaced. They have a pool
of their own so that programs waiting for a slot never wait behind mathematics, nor the other way round.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from berry.sandboxes.base import MIB, CaseResult, Job, JobOutcome, Limits, SandboxError
from berry.sandboxes.metrics import SLOT_USE
from berry.verifiers.base import Reason
from berry.verifiers.config import CheckerConfig
from berry.verifiers.maths.ladder import Equivalence
from berry.verifiers.sandbox_limits import package_root, yielding
from berry.verifiers.specs.union import Strictness

if TYPE_CHECKING:
    from berry.sandboxes.jobs.session import Session
    from berry.sandboxes.pool import SandboxPool

QUESTIONS_A_WORKER = 2_000
_SOURCE = "import logging\nlogging.disable(logging.CRITICAL)\nfrom berry.verifiers.maths.worker import decide"
_PROFILE = "mathematics"


class _SymbolicWorker:
    """One session; started when first asked, closed after a kill."""

    def __init__(self) -> None:
        self.stack: AsyncExitStack | None = None
        self.session: Session | None = None
        self.served = 0

    async def close(self) -> None:
        stack, self.stack, self.session, self.served = self.stack, None, None, 0
        if stack is not None:
            await stack.aclose()


class Symbolic:
    """Compares expressions with SymPy in jailed workers, which are started when first needed."""

    def __init__(self, config: CheckerConfig) -> None:
        self._config = config
        self._pool: SandboxPool | None = None
        self._starting = asyncio.Lock()
        self._free: asyncio.LifoQueue[_SymbolicWorker] = asyncio.LifoQueue()
        self._workers: list[_SymbolicWorker] = []
        self._waiting = 0
        self._counts: Counter[str] = Counter()

    async def decide(self, gold: str, response: str, strict: Strictness) -> Equivalence:
        """The worker's answer; undecided with an UNVERIFIABLE reason where there was none in time."""
        began = time.monotonic()
        try:
            return await self._decide(gold, response, strict)
        finally:
            use = SLOT_USE.get()
            if use is not None:  # it takes what the worker computed, however long that was waited for
                use.waited_s -= time.monotonic() - began

    async def _decide(self, gold: str, response: str, strict: Strictness) -> Equivalence:
        try:
            await self._start()
        except SandboxError as fault:
            return Equivalence(None, "symbolic", Reason.MISSING_TOOL, str(fault)[:200])
        self._waiting += 1
        try:
            worker = await self._free.get()
        finally:
            self._waiting -= 1
        try:
            return await self._ask(worker, gold, response, strict)
        finally:
            self._free.put_nowait(worker)

    async def _ask(self, worker: _SymbolicWorker, gold: str, response: str, strict: Strictness) -> Equivalence:
        from berry.sandboxes.host.queue import Overloaded
        from berry.sandboxes.host.slot import SlotDied

        self._counts["symbolic_asked"] += 1
        try:
            session = await self._session(worker)
            async with asyncio.timeout(self._config.symbolic_s * self._calibration):
                case = await session.call("decide", (gold, response, strict.model_dump()))
        except TimeoutError:
            _count(self._config.symbolic_s)
            return await self._lost(worker, Reason.CHECK_TIMEOUT, f"over {self._config.symbolic_s} s")
        except (SlotDied, Overloaded) as fault:
            return await self._lost(worker, Reason.SANDBOX_FAULT, str(fault))
        except asyncio.CancelledError:
            await worker.close()
            raise
        worker.served += 1
        if case.outcome is not JobOutcome.OK:
            return await self._lost(worker, _fault(case), case.error or str(case.outcome))
        if worker.served >= QUESTIONS_A_WORKER:
            await worker.close()
        answer = case.value
        _count(answer["cpu_s"])
        return Equivalence(answer["same"], "symbolic", Reason(answer["reason"]), answer["note"])

    async def _lost(self, worker: _SymbolicWorker, reason: Reason, note: str) -> Equivalence:
        self._counts["symbolic_restarts"] += 1
        await worker.close()
        return Equivalence(None, "symbolic", reason, note[:200])

    async def _session(self, worker: _SymbolicWorker) -> Session:
        if worker.session is None:
            assert self._pool is not None
            worker.stack = AsyncExitStack()
            worker.session = await worker.stack.enter_async_context(self._pool.open(self._job()))
        return worker.session

    def _job(self) -> Job:
        limits = Limits(
            cpu_s=3_600, wall_s=86_400, memory_bytes=self._config.symbolic_memory_mb * MIB, output_bytes=64 * MIB
        )
        return Job(source=_SOURCE, profile=_PROFILE, limits=limits, key="symbolic")

    @property
    def _calibration(self) -> float:
        return max(1.0, self._pool.calibration) if self._pool is not None else 1.0

    async def _start(self) -> None:
        """The pool, when the first question needs it: most runs of code problems never do."""
        async with self._starting:
            if self._pool is not None:
                return
            from berry.sandboxes.config import PoolConfig
            from berry.sandboxes.pool import SandboxPool

            pool = SandboxPool(
                PoolConfig(
                    slots=min(self._config.symbolic_workers, os.cpu_count() or 1),
                    isolation=self._config.isolation,
                    profiles={_PROFILE: ("berry.verifiers.maths.worker",)},
                    warm=(_PROFILE,),
                    import_paths=package_root(),
                    launcher=yielding(self._config),
                )
            )
            await pool.start()
            self._pool = pool
            self._workers = [_SymbolicWorker() for _ in range(pool.config.slots)]
            for worker in self._workers:
                self._free.put_nowait(worker)

    async def close(self) -> None:
        """Ends its workers, and its pool where it has one of its own."""
        for worker in self._workers:
            await worker.close()
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    def metrics(self) -> dict[str, float]:
        """Counters `symbolic_asked`, `symbolic_restarts`; gauges `symbolic_free` and `symbolic_running` (workers),
        `symbolic_waiting` (questions)."""
        counts = {name: float(self._counts[name]) for name in ("symbolic_asked", "symbolic_restarts")}
        free = self._free.qsize()
        running = len(self._workers) - free
        gauges = {"symbolic_free": free, "symbolic_running": running, "symbolic_waiting": self._waiting}
        return counts | {name: float(value) for name, value in gauges.items()}


def _count(cpu_s: float) -> None:
    """Adds a worker's time to that of the check that asked it."""
    if (use := SLOT_USE.get()) is not None:
        use.own_s += cpu_s


def _fault(case: CaseResult) -> Reason:
    limits = (JobOutcome.CPU_LIMIT, JobOutcome.WALL_LIMIT, JobOutcome.MEMORY_LIMIT, JobOutcome.RUNTIME_ERROR)
    return Reason.CHECK_TIMEOUT if case.outcome in limits else Reason.SANDBOX_FAULT
