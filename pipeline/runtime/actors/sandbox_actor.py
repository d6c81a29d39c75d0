"""Holds a checker and its sandboxes in a Ray actor on a node's CPUs.

    VerifyClient ─► SandboxActor.check ─► verifiers.checker.Checker ─► sandboxes.pool

Only what checks need is imported here: a process of these is up in half the time that one with searches takes.
"""

from __future__ import annotations

import asyncio
import os

import ray

from berry.pipeline import logs
from berry.pipeline.errors import ResourceError
from berry.pipeline.runtime.actors.process import Home, tree_cpu_s
from berry.pipeline.runtime.monitoring import metrics, prometheus
from berry.sandboxes.base import SandboxError
from berry.verifiers.base import Verdict
from berry.verifiers.checker import Checker, CheckerConfig, CheckRequest
from berry.verifiers.kinds.majority import ConsensusRequest


class SandboxActor:
    """A pool of sandboxes on this node's CPUs."""

    def __init__(self, config: CheckerConfig) -> None:
        logs.to_stderr()
        self._checker = Checker(config)
        self._started = False
        self._exporting: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Starts the sandboxes; returns the Ray node they are on. Raises ResourceError where this host can't confine
        programs."""
        if not self._started:
            try:
                await self._checker.start()
            except SandboxError as error:
                raise ResourceError(f"sandboxes can't start on {os.uname().nodename}: {error}") from error
            self._started = True
            read = self._checker.metrics
            self._exporting = prometheus.start(prometheus.Exporter({}), lambda: metrics.of_checker(read()))
        return ray.get_runtime_context().get_node_id()

    def home(self) -> Home:
        return ray.get_runtime_context().get_node_id(), os.getpid()

    async def check(self, request: CheckRequest) -> Verdict:
        await self.start()
        return await self._checker.check(request)

    async def agree(self, request: ConsensusRequest) -> dict[str, Verdict]:
        await self.start()
        return await self._checker.agree(request)

    async def metrics(self) -> dict[str, float]:
        return {**self._checker.metrics(), "cpu_s": tree_cpu_s()} if self._started else {}

    async def stop(self) -> None:
        if self._exporting is not None:
            self._exporting.cancel()
        if self._started:
            await self._checker.close()
            self._started = False


sandbox_actor = ray.remote(SandboxActor)
