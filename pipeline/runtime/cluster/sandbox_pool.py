"""Sandbox actors of a run, more or fewer of them, and emptied before they end. None takes a verdict along.

Crew ─► sites for every client
resize ─► fewer: out of every client's list first, ended when what it was asked for is answered
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayActorError

from berry.pipeline.runtime.actors.sandbox_client import SandboxEndpoint
from berry.pipeline.runtime.cluster.actor_pool import ANSWER_S, LOOK_S, ActorPool, Health, PooledActor

EMPTY_S = 600.0  # then what it still works on is asked for elsewhere
GAUGES = ("pool_slots", "pool_waiting", "pool_running", "in_service", "symbolic_free", "symbolic_running")


class SandboxSites:
    def __init__(self, place: Callable[[], Any], slots: int, tell: Callable[[], Awaitable[None]]) -> None:
        self._slots = slots
        self._tell = tell
        self._leaving: dict[asyncio.Task[None], PooledActor] = {}
        self._retired: dict[str, float] = {}  # counters of those that were ended
        self.crew = ActorPool("sandbox", place, tell, figures=lambda actor: actor.metrics.remote())

    @property
    def asked_for(self) -> int:
        return len(self.crew.members)

    def up(self) -> list[SandboxEndpoint]:
        return [SandboxEndpoint(member.name, member.actor, self._slots, member.answer) for member in self.crew.up()]

    async def resize(self, count: int) -> None:
        self.crew.ask_for(count - self.asked_for)
        leaving = [self.crew.members.pop(name) for name in self._least_needed(self.asked_for - count)]
        if not leaving:
            return
        await self._tell()
        for member in leaving:
            if member.coming is not None:
                member.coming.cancel()
            task = asyncio.create_task(self._empty(member))
            self._leaving[task] = member
            task.add_done_callback(lambda ended: self._leaving.pop(ended, None))

    def _least_needed(self, count: int) -> list[str]:
        """Those that are not up, then the youngest of the nodes that have most."""
        by_node: dict[str, list[str]] = {}
        for member in self.crew.members.values():
            by_node.setdefault(member.answer or "", []).append(member.name)
        chosen: list[str] = []
        while len(chosen) < count:
            names = by_node.get("") or max(by_node.values(), key=len)
            chosen.append(names.pop())
        return chosen

    async def _empty(self, member: PooledActor) -> None:
        """Ends an actor that no client asks any more, when it has answered all it was asked."""
        deadline = asyncio.get_running_loop().time() + EMPTY_S
        with suppress(RayActorError, TimeoutError):
            while member.answer is not None and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(LOOK_S)
                figures = await asyncio.wait_for(member.actor.metrics.remote(), ANSWER_S)
                member.seen = figures or member.seen
                if not figures or not (figures["in_service"] or figures["pool_waiting"] or figures["pool_running"]):
                    break
            if member.answer is not None:
                await asyncio.wait_for(member.actor.stop.remote(), ANSWER_S)
        for name, value in _counters(member.seen).items():
            self._retired[name] = self._retired.get(name, 0.0) + value
        member.seen = None
        ray.kill(member.actor)

    async def figures(self) -> list[dict[str, float]]:
        """Of every actor that is up, and the counters of those that were ended; empty while one does not answer."""
        found = await self.crew.look()
        asked = [member for member in self.crew.up() if member.name in found]
        if any(found[member.name] is not Health.ANSWERED for member in asked):
            return []
        ended = [dict(self._retired), *(_counters(member.seen) for member in self._leaving.values())]
        return [figures for figures in (*ended, *(member.seen for member in asked)) if figures]

    def abandon(self) -> None:
        """Waits for nothing any more."""
        self.crew.abandon()
        for task in self._leaving:
            task.cancel()


def _counters(figures: dict[str, float] | None) -> dict[str, float]:
    return {name: value for name, value in (figures or {}).items() if name not in GAUGES}
