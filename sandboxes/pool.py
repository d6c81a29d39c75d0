"""Runs jobs in a pool of sandboxes on one host: plain asyncio and processes.

    run(job) ─► queue ─► the slot's handle for the job's profile ─► children, one after another ─► result
                         (forked from the profile's template; replaced after faults and many jobs)

A fault of the sandbox is tried again on a fresh slot and then reported as `fault`; it never becomes the
program's outcome. `open` keeps one child for a session, `judge` runs tests against a candidate in another
process.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from berry.sandboxes.base import (
    CaseResult,
    Job,
    JobOutcome,
    JobResult,
    JudgeResult,
    JudgeStatus,
    Limits,
    Profile,
    SandboxError,
    SlotDied,
)
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.host.queue import Overloaded, SlotQueue
from berry.sandboxes.host.slots import Slots
from berry.sandboxes.jail.plan import JailPlan
from berry.sandboxes.jobs import judge as judge_job
from berry.sandboxes.jobs import programs, python
from berry.sandboxes.jobs.session import Session
from berry.sandboxes.metrics import Metrics

R = TypeVar("R", JobResult, JudgeResult)


class SandboxPool:
    """`await start()`, then `run`, `judge` and `open` from any task of the same event loop; `await
    close()`."""

    def __init__(self, config: PoolConfig | None = None) -> None:
        self.config = config or PoolConfig()
        self._queue = SlotQueue(self.config.slots, self.config.queue_limit)
        self._metrics = Metrics()
        self._slots = Slots(self.config, self._metrics)
        self._binaries = programs.Binaries()

    async def start(self) -> None:
        """Starts the warm profiles and their slots. Raises SandboxError where this host can't confine
        jobs."""
        await self._slots.start()

    async def close(self) -> None:
        """Ends every process and removes every file of the pool."""
        await self._slots.close()

    async def __aenter__(self) -> SandboxPool:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def calibration(self) -> float:
        """Factor on time limits: this host's CPU seconds for a fixed piece of work over the reference
        host's."""
        return self._slots.calibration

    def host(self) -> JailPlan:
        """Returns what is on in the pool's first profile."""
        return self._slots.host()

    def metrics(self) -> dict[str, Any]:
        """Returns counters and waits since the start; see `berry.sandboxes.metrics`."""
        return self._metrics.snapshot(waiting=self._queue.waiting, slots=self._queue.open)

    @property
    def open_slots(self) -> int:
        """Slots that take jobs now."""
        return self._queue.open

    def resize(self, slots: int) -> None:
        """Leaves 1 … `config.slots` slots open; jobs that run go on."""
        self._queue.resize(min(max(slots, 1), self.config.slots))

    async def get_ready(self, profile: Profile, slots: int) -> None:
        """Starts the slots that are handed out next, so that a child of this profile waits there. Raises SandboxError,
        SlotDied."""
        for number in self._queue.next_free(slots):
            await self._slots.handle(profile, "python", number)

    async def run(self, job: Job) -> JobResult:
        """Runs a job. Never raises for what the job does, nor for a sandbox that fails: both are outcomes."""

        async def once(number: int) -> JobResult:
            limits = self.limits_now(job.limits)
            if job.language == "python":
                return await python.run_python(self._slots, number, job, limits)
            return await programs.run_programs(self._slots, self._binaries, number, job, limits)

        def failed(outcome: JobOutcome, error: str) -> JobResult:
            return JobResult(outcome, error=error)

        result = await self._on_slot(job, once, failed)
        self._metrics.outcomes[result.outcome] += 1
        return result

    async def judge(
        self,
        job: Job,
        tests: str,
        entry_name: str | None = None,
        *,
        limits: Limits | None = None,
        prelude: str = "",
        changes: bool = True,
        as_given: JudgeResult | None = None,
    ) -> JudgeResult:
        """Runs `tests` (bare asserts, or a `check(candidate)`) in a child of their own, with calls of the entry point
        relayed to the job's child. `prelude` is code that the tests' namespace needs; `limits` are the judge's.
        `changes`: whether arguments that the candidate changed are changed for the tests too; `as_given`: a trial that
        it passed so; now the tests see arguments as they were given (`inside.as_given`). Raises SandboxError without an
        entry point."""
        name = entry_name or job.entry_point
        if name is None:
            raise SandboxError("judge needs an entry point")
        own, judges = self.limits_now(job.limits), self.limits_now(limits)
        judge_run = judge_job.JudgeRun(job, tests, name, prelude, own, judges, changes, as_given)

        async def once(number: int) -> JudgeResult:
            return await judge_job.run_judge(self._slots, number, judge_run)

        def failed(outcome: JobOutcome, error: str) -> JudgeResult:
            return JudgeResult(JudgeStatus.NOT_CHECKED, message=error, candidate=CaseResult(outcome, error=error))

        result = await self._on_slot(job, once, failed)
        self._metrics.outcomes[f"judge_{result.status}"] += 1
        return result

    @asynccontextmanager
    async def open(self, job: Job) -> AsyncIterator[Session]:
        """Opens a session: one child that lives until the block ends, with the job's limits over all of it. The
        job's source runs first. Raises Overloaded when no slot can be had and SlotDied when the sandbox
        fails."""
        number = await self._queue.take(job.key, self._deadline(job))
        try:
            session = await Session.start(self._slots, number, job, self.limits_now(job.limits))
            try:
                yield session
            finally:
                await session.close()
        finally:
            self._queue.give(number)

    def limits_now(self, limits: Limits | None) -> Limits:
        """Returns the limits that hold for a job that begins now: see `Slots.limits_now`."""
        return self._slots.limits_now(limits or self.config.limits)

    def _deadline(self, job: Job) -> float | None:
        return self.config.deadline_s if job.deadline_s is None else job.deadline_s

    async def _on_slot(
        self, job: Job, once: Callable[[int], Awaitable[R]], failed: Callable[[JobOutcome, str], R]
    ) -> R:
        """Waits for a slot and runs `once` on it, again after faults."""
        asked = time.monotonic()
        try:
            number = await self._queue.take(job.key, self._deadline(job))
        except Overloaded as e:
            return failed(JobOutcome.OVERLOADED, str(e))
        began = time.monotonic()
        self._metrics.running += 1
        error = ""
        try:
            for attempt in range(self.config.retries + 1):
                try:
                    result = await once(number)
                except (SlotDied, OSError) as e:  # an OSError: this process may open no more files, or has no memory
                    error = str(e)
                    self._metrics.retries += attempt < self.config.retries
                    continue
                self._metrics.computed(result.cpu_s)
                return replace(result, queue_s=began - asked)
            return failed(JobOutcome.FAULT, error)
        finally:
            self._metrics.running -= 1
            self._metrics.served(began - asked, time.monotonic() - began)
            self._queue.give(number)
