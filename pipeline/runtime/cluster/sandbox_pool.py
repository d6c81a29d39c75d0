"""Keeps the sandbox actors of a run, more or fewer of them; none ends before it has answered what it was asked.

ActorPool ─► SandboxActors.up ─► endpoints for every client
resize to fewer ─► out of every client's list ─► emptied ─► ended; its counters are kept
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayActorError

from berry.pipeline.runtime.actors.sandbox_client import SandboxEndpoint
from berry.pipeline.runtime.cluster.actor_pool import ANSWER_S, ActorPool, Health, PooledActor
from berry.pipeline.runtime.monitoring.stalls import activity_of_checker

EMPTY_S = 600.0  # after which what it still works on is asked for elsewhere
EMPTY_POLL_S = 1.0
_WORKING = ("in_service", "pool_waiting", "pool_running", "call_waiting", "call_running")
GAUGES = (*_WORKING, "pool_slots", "symbolic_free", "symbolic_running", "call_slots", "call_sessions")


class SandboxActors:
    """The sandbox actors of a run. `request` asks Ray for one of `slots` slots; `changed` is called when others are
    up than before."""

    def __init__(
        self,
        request: Callable[[], Any],
        slots: int,
        changed: Callable[[], Awaitable[None]],
        *,
        stall_s: float,
        note: Callable[[str], None],
    ) -> None:
        self._slots = slots
        self._changed = changed
        self._leaving: dict[asyncio.Task[None], PooledActor] = {}  # being emptied
        self._retired: dict[str, float] = {}  # counters of those that were ended
        self.pool = ActorPool(
            "sandbox",
            request,
            changed,
            figures=lambda actor: actor.metrics.remote(),
            activity=activity_of_checker,
            stall_s=stall_s,
            note=note,
        )

    @property
    def asked_for(self) -> int:
        """Actors, whether up or not."""
        return len(self.pool.actors)

    def up(self) -> list[SandboxEndpoint]:
        """Those that can be asked now."""
        return [SandboxEndpoint(one.name, one.actor, self._slots, one.started) for one in self.pool.up()]

    async def resize(self, count: int) -> None:
        """Asks for `count` actors: more are asked of Ray, those too many are emptied and ended."""
        self.pool.ask_for(count - self.asked_for)
        leaving = [self.pool.actors.pop(name) for name in self._least_needed(self.asked_for - count)]
        if not leaving:
            return
        await self._changed()
        for pooled in leaving:
            if pooled.starting is not None:
                pooled.starting.cancel()
            task = asyncio.create_task(self._empty(pooled))
            self._leaving[task] = pooled
            task.add_done_callback(lambda ended: self._leaving.pop(ended, None))

    def _least_needed(self, count: int) -> list[str]:
        """The names of those to end: those that are not up, then the youngest of the nodes that have most."""
        by_node: dict[str, list[str]] = {}
        for pooled in self.pool.actors.values():
            by_node.setdefault(pooled.started or "", []).append(pooled.name)
        chosen: list[str] = []
        while len(chosen) < count:
            names = by_node.get("") or max(by_node.values(), key=len)
            chosen.append(names.pop())
        return chosen

    async def _empty(self, pooled: PooledActor) -> None:
        """Ends an actor that no client asks any more, when it has answered all it was asked."""
        deadline = asyncio.get_running_loop().time() + EMPTY_S
        with suppress(RayActorError, TimeoutError):
            while pooled.started is not None and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(EMPTY_POLL_S)
                figures = await asyncio.wait_for(pooled.actor.metrics.remote(), ANSWER_S)
                pooled.figures = figures or pooled.figures
                if not figures or not any(figures.get(name) for name in _WORKING):
                    break
            if pooled.started is not None:
                await asyncio.wait_for(pooled.actor.stop.remote(), ANSWER_S)
        for name, value in _counters(pooled.figures).items():
            self._retired[name] = self._retired.get(name, 0.0) + value
        pooled.figures = None
        ray.kill(pooled.actor)

    async def counters(self) -> list[dict[str, float]]:
        """Counters of every actor that is up, and of those that were ended; empty while one does not answer."""
        health = await self.pool.health()
        asked = [pooled for pooled in self.pool.up() if pooled.name in health]
        if any(health[pooled.name] is not Health.ANSWERED for pooled in asked):
            return []
        ended = [dict(self._retired), *(_counters(pooled.figures) for pooled in self._leaving.values())]
        return [figures for figures in (*ended, *(pooled.figures for pooled in asked)) if figures]

    def abandon(self) -> None:
        """Stops waiting for actors that are starting or being emptied."""
        self.pool.abandon()
        for task in self._leaving:
            task.cancel()


def _counters(figures: dict[str, float] | None) -> dict[str, float]:
    return {name: value for name, value in (figures or {}).items() if name not in GAUGES}
