"""A session: one live child that keeps its state between snippets and calls, with limits over all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from berry.sandboxes import wire
from berry.sandboxes.base import CaseResult, Job, Limits, Outcome, SandboxError
from berry.sandboxes.host import outcomes
from berry.sandboxes.host.child import ChildHandle
from berry.sandboxes.host.slots import Slots
from berry.sandboxes.jobs.python import call_frame, header


class Session:
    """Made by `SandboxPool.open`. After the child has ended every answer is the outcome that ended it."""

    def __init__(self, live: ChildHandle, limits: Limits) -> None:
        self._live, self._limits = live, limits
        self._at: outcomes.Reached = (0, 0, 0.0)
        self._over: CaseResult | None = None
        self._turn = asyncio.Lock()
        self.loaded = CaseResult(Outcome.NOT_RUN)

    @classmethod
    async def start(cls, slots: Slots, number: int, job: Job, limits: Limits) -> Session:
        """Starts the child and runs the job's source; its result is `loaded`. Raises SlotDied."""
        if job.language != "python":
            raise SandboxError(f"sessions are for python, not {job.language}")
        slot = await slots.handle(job.profile, "python", number)
        session = cls(await slot.begin(limits), limits)
        try:
            session._live.send(header("session", job.source, limits, module="__main__", count=None))
            session.loaded = await session._result()
        except BaseException:
            session._live.release()
            raise
        return session

    @property
    def alive(self) -> bool:
        """Whether the child still answers."""
        return self._over is None

    async def call(self, name: str, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> CaseResult:
        """Calls a function that the session has defined; raises wire.Unsupported for arguments that are not
        plain."""
        return await self._ask(call_frame(name, args, dict(kwargs or {})))

    async def exec(self, snippet: str) -> CaseResult:
        """Runs a snippet. `value` is its last expression, as plain data or else as text; what it printed is
        in `stdout`."""
        return await self._ask(wire.frame(wire.dumps(["exec", snippet])))

    async def _ask(self, frame: bytes) -> CaseResult:
        async with self._turn:
            if self._over is not None:
                return self._over
            self._live.send(frame)
            return await self._result()

    async def _result(self) -> CaseResult:
        body = await self._live.frame()
        if body is None:
            self._over = outcomes.early_end(self._live, await self._live.end(), self._limits)
            return self._over
        try:
            case, self._at = outcomes.case_of_frame(body, self._live.output, self._at)
        except wire.WireError as e:
            self._live.break_off(str(e))
            self._over = case = CaseResult(Outcome.VIOLATION, error=str(e))
        return case

    async def close(self) -> None:
        """Ends the child."""
        self._live.retire()
        self._live.release()
