"""Keeps one child alive between snippets and calls, with its state, under limits over all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from berry.sandboxes import wire
from berry.sandboxes.base import CaseResult, Job, JobOutcome, Limits, SandboxError
from berry.sandboxes.host import outcomes
from berry.sandboxes.host.child import ChildHandle
from berry.sandboxes.host.slots import Slots
from berry.sandboxes.jobs.python import call_frame, header


class Session:
    """A child that answers calls and snippets; made by `SandboxPool.open`. After the child has ended every answer is
    the outcome that ended it."""

    def __init__(self, child: ChildHandle, limits: Limits) -> None:
        self._child, self._limits = child, limits
        self._progress: outcomes.OutputProgress = (0, 0, 0.0)
        self._ended_as: CaseResult | None = None
        self._turn = asyncio.Lock()
        self.loaded = CaseResult(JobOutcome.NOT_RUN)

    @classmethod
    async def start(cls, slots: Slots, number: int, job: Job, limits: Limits) -> Session:
        """Starts the child and runs the job's source; its result is `loaded`. Raises SlotDied."""
        if job.language != "python":
            raise SandboxError(f"sessions are for python, not {job.language}")
        slot = await slots.handle(job.profile, "python", number)
        session = cls(await slot.begin(limits), limits)
        try:
            session._child.allow(1)
            session._child.send(header("session", job.source, limits, module="__main__", count=None))
            session.loaded = await session._result()
        except BaseException:
            session._child.release()
            raise
        return session

    @property
    def output_bytes(self) -> int:
        """What it has printed so far, on the stream that has more."""
        return max(self._progress[:2])

    @property
    def alive(self) -> bool:
        """Whether the child still answers."""
        return self._ended_as is None

    async def call(self, name: str, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> CaseResult:
        """Calls a function that the session has defined; raises wire.Unsupported for arguments that are not
        plain."""
        return await self._ask(call_frame(name, args, dict(kwargs or {})))

    async def exec(self, snippet: str) -> CaseResult:
        """Runs a snippet. `value` is its last expression, as plain data or else as text; what it printed is
        in `stdout`."""
        return await self._ask(wire.frame(wire.dumps(["exec", snippet])))

    async def test(self, source: str) -> CaseResult:
        """Runs tests in the session's namespace, with the built-in names as they were before the job's source."""
        return await self._ask(wire.frame(wire.dumps(["test", source])))

    async def _ask(self, frame: bytes) -> CaseResult:
        async with self._turn:
            if self._ended_as is not None:
                return self._ended_as
            self._child.allow(1)
            self._child.send(frame)
            return await self._result()

    async def _result(self) -> CaseResult:
        body = await self._child.frame()
        if body is None:
            self._ended_as = outcomes.early_end(await self._child.end(), self._limits)
            return self._ended_as
        try:
            decode = partial(outcomes.case_of_frame, body, self._child.output, self._progress)
            case, self._progress = await outcomes.off_loop(decode, len(body))
        except wire.WireError as e:
            self._child.break_off(str(e), JobOutcome.VIOLATION)
            self._ended_as = case = CaseResult(JobOutcome.VIOLATION, error=str(e))
        return case

    def give_up(self, result: CaseResult) -> None:
        """Ends the child, with `result` as every answer from now on."""
        self._ended_as = self._ended_as or result
        self._child.retire()

    async def close(self) -> None:
        """Ends the child."""
        self._child.retire()
        self._child.release()
