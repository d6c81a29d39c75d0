"""Holds a checker and its sandboxes in a Ray actor on a node's CPUs.

    VerifyClient ─► SandboxActor.check ─► verifiers.checker.Checker ─► sandboxes.pool
                  └► SandboxActor.call ─► sandboxes.sessions.SessionKeeper

Tool calls go before checks: they have slots of their own, so that none waits for a check to end, and checks yield the
cores to them. A sequence's cache waits for a call, not for a check.

Only what checks need is imported here: a process of these is up in half the time that one with searches takes.
"""

from __future__ import annotations

import asyncio
import os

import ray

from berry.pipeline import logs
from berry.pipeline.errors import ResourceError
from berry.pipeline.runtime.actors.process import Home, allow_many_files, tree_cpu_s
from berry.pipeline.runtime.monitoring import metrics, prometheus
from berry.sandboxes.base import SandboxError
from berry.sandboxes.sessions import SessionCall, SessionKeeper, SessionReply
from berry.verifiers.base import Verdict
from berry.verifiers.checker import Checker, CheckerConfig, CheckRequest
from berry.verifiers.kinds.majority import ConsensusRequest
from berry.verifiers.sandbox_limits import behind_calls, pool_config


class SandboxActor:
    """A pool of sandboxes on this node's CPUs; `sessions` of them may wait for their next tool call."""

    def __init__(self, config: CheckerConfig, sessions: int = 0) -> None:
        logs.to_stderr()
        self._checker = Checker(behind_calls(config) if sessions else config)
        pool = pool_config(config)
        self._sessions = SessionKeeper(pool, slots=pool.slots, sessions=sessions)
        self._has_tools = sessions > 0
        self._started = False
        self._exporting: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Starts the sandboxes; returns the Ray node they are on. Raises ResourceError where this host can't confine
        programs."""
        if not self._started:
            allow_many_files()
            try:
                await self._checker.start()
                if self._has_tools:
                    await self._sessions.start()
            except SandboxError as error:
                raise ResourceError(f"sandboxes can't start on {os.uname().nodename}: {error}") from error
            self._started = True
            self._exporting = prometheus.start(
                prometheus.Exporter({}),
                lambda: metrics.of_sandboxes({**self._checker.metrics(), **self._sessions.metrics()}),
            )
        return ray.get_runtime_context().get_node_id()

    def home(self) -> Home:
        return ray.get_runtime_context().get_node_id(), os.getpid()

    async def check(self, request: CheckRequest) -> Verdict:
        await self.start()
        return await self._checker.check(request)

    async def call(self, request: SessionCall) -> SessionReply:
        await self.start()
        return await self._sessions.call(request)

    async def agree(self, request: ConsensusRequest) -> dict[str, Verdict]:
        await self.start()
        return await self._checker.agree(request)

    async def metrics(self) -> dict[str, float]:
        if not self._started:
            return {}
        calls = self._sessions.metrics() if self._has_tools else {}
        return {**self._checker.metrics(), **calls, "cpu_s": tree_cpu_s()}

    async def stop(self) -> None:
        if self._exporting is not None:
            self._exporting.cancel()
        if self._started:
            await self._sessions.close()
            await self._checker.close()
            self._started = False


sandbox_actor = ray.remote(SandboxActor)
