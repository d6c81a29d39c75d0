"""Sandbox actors of a run: asked for, up, down with their node, emptied before they end. None takes a verdict along.

ask_for ─► coming ─► up ◄─► down (its node left; it comes up again where Ray finds room)
resize  ─► fewer: out of every client's list first, ended when what it was asked for is answered
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError

from pipeline.errors import BerryError
from pipeline.runtime.verification import Site
from pipeline.runtime.workers import expected

LOOK_S = 1.0
A_SECOND = 100  # actors that are looked at
ANSWER_S = 5.0
EMPTY_S = 600.0  # then what it still works on is asked for elsewhere
GAUGES = ("pool_slots", "pool_waiting", "pool_running", "in_service", "symbolic_free", "symbolic_running")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    name: str
    actor: Any
    coming: asyncio.Task[None] | None = None
    site: Site | None = None  # None: not up
    seen: dict[str, float] | None = None  # its counters when it last answered


class SandboxSites:
    def __init__(self, place: Callable[[], Any], slots: int, tell: Callable[[], Awaitable[None]]) -> None:
        self._place = place
        self._slots = slots
        self._tell = tell
        self._held: dict[str, _Held] = {}
        self._leaving: dict[asyncio.Task[None], _Held] = {}
        self._retired: dict[str, float] = {}  # counters of those that were ended
        self._made = 0

    @property
    def asked_for(self) -> int:
        return len(self._held)

    def up(self) -> list[Site]:
        return [held.site for held in self._held.values() if held.site is not None]

    def ask_for(self, count: int) -> list[asyncio.Task[None]]:
        """More of them; the answer is tasks that end when each is up. They raise what keeps it from starting at all."""
        return [self._ask_for_one() for _ in range(count)]

    def _ask_for_one(self) -> asyncio.Task[None]:
        held = _Held(f"sandbox-{self._made}", self._place())
        self._made += 1
        self._held[held.name] = held
        return self._await(held)

    def _await(self, held: _Held) -> asyncio.Task[None]:
        held.coming = asyncio.create_task(self._come_up(held))
        held.coming.add_done_callback(_say_failure)
        return held.coming

    async def _come_up(self, held: _Held) -> None:
        """Until there is a node for it, however long that takes."""
        while True:
            try:
                node = await expected(held.actor.start.remote())
                break
            except RayActorError:
                await asyncio.sleep(LOOK_S)
        held.site = Site(held.name, held.actor, self._slots, node)
        held.coming = None
        await self._tell()

    async def resize(self, count: int) -> None:
        while len(self._held) < count:
            self._ask_for_one()
        leaving = [self._held.pop(name) for name in self._least_needed(len(self._held) - count)]
        if not leaving:
            return
        await self._tell()
        for held in leaving:
            if held.coming is not None:
                held.coming.cancel()
            task = asyncio.create_task(self._empty(held))
            self._leaving[task] = held
            task.add_done_callback(lambda ended: self._leaving.pop(ended, None))

    def _least_needed(self, count: int) -> list[str]:
        """Those that are not up, then the youngest of the nodes that have most."""
        by_node: dict[str, list[str]] = {}
        for held in self._held.values():
            by_node.setdefault(held.site.node if held.site else "", []).append(held.name)
        chosen: list[str] = []
        while len(chosen) < count:
            names = by_node.get("") or max(by_node.values(), key=len)
            chosen.append(names.pop())
        return chosen

    async def _empty(self, held: _Held) -> None:
        """Ends an actor that no client asks any more, when it has answered all it was asked."""
        deadline = asyncio.get_running_loop().time() + EMPTY_S
        with suppress(RayActorError, TimeoutError):
            while held.site is not None and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(LOOK_S)
                figures = await asyncio.wait_for(held.actor.metrics.remote(), ANSWER_S)
                held.seen = figures or held.seen
                if not figures or not (figures["in_service"] or figures["pool_waiting"] or figures["pool_running"]):
                    break
            if held.site is not None:
                await asyncio.wait_for(held.actor.stop.remote(), ANSWER_S)
        for name, value in _counters(held.seen).items():
            self._retired[name] = self._retired.get(name, 0.0) + value
        held.seen = None
        ray.kill(held.actor)

    async def figures(self) -> list[dict[str, float]]:
        """Of every actor that is up, and the counters of those that were ended; empty while one does not answer."""
        up = [held for held in self._held.values() if held.site is not None]
        asked = [asyncio.wait_for(held.actor.metrics.remote(), ANSWER_S) for held in up]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found = [dict(self._retired), *(_counters(held.seen) for held in self._leaving.values())]
        for held, answer in zip(up, answers, strict=True):
            if isinstance(answer, BaseException) or not answer:
                return []
            held.seen = answer
            found.append(answer)
        return [figures for figures in found if figures]

    async def watch(self) -> None:
        """Takes out those that are lost, and sees that they come back. Until cancelled."""
        while True:
            await asyncio.sleep(max(LOOK_S, len(self._held) / A_SECOND))
            up = [held for held in self._held.values() if held.site is not None]
            lost = [held for held, fine in zip(up, await self._answer(up), strict=True) if not fine]
            for held in lost:
                if held.site is None or held.name not in self._held:
                    continue
                log.warning("%s was lost", held.name, extra={"ids": {"node": held.site.node}})
                held.site = None
                self._await(held)
            if lost:
                await self._tell()

    async def _answer(self, up: list[_Held]) -> list[bool]:
        """Whether each is there and started. One that is merely slow is."""

        async def fine(held: _Held) -> bool:
            try:
                return bool(await asyncio.wait_for(held.actor.metrics.remote(), ANSWER_S))
            except TimeoutError:
                return True
            except (RayActorError, BerryError):
                return False

        return list(await asyncio.gather(*(fine(held) for held in up)))

    def abandon(self) -> None:
        """Waits for nothing any more."""
        for held in self._held.values():
            if held.coming is not None:
                held.coming.cancel()
        for task in self._leaving:
            task.cancel()


def _counters(figures: dict[str, float] | None) -> dict[str, float]:
    return {name: value for name, value in (figures or {}).items() if name not in GAUGES}


def _say_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a sandbox actor can't start: %s", task.exception())
