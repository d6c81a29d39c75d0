"""Actors of one kind, as nodes come and go. Sandbox actors and reward actors are each a crew.

ask_for ─► coming ─► up ◄─► down (its node left; it comes up again where Ray finds room)
look    ─► what each that is up answers: one question to each for all who want to know at about the same time
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from ray.exceptions import RayActorError, RayTaskError

from berry.pipeline.errors import BerryError
from berry.pipeline.runtime.actors.remote import expected

LOOK_S = 1.0
A_SECOND = 100  # actors that are looked at
ANSWER_S = 5.0
FRESH_S = 0.3  # an answer is not asked for again
REFUSED_S = 10.0  # then what could not start is tried again
T = TypeVar("T")
log = logging.getLogger(__name__)


class Health(Enum):
    ANSWERED = auto()  # its figures are in `Member.seen`
    SLOW = auto()
    LOST = auto()


@dataclass(slots=True)
class PooledActor:
    """`answer`: of its `start`; None: not up."""

    name: str
    actor: Any
    coming: asyncio.Task[None] | None = None
    answer: Any = None
    seen: dict[str, Any] | None = None  # its figures when it last gave them


class ActorPool:
    def __init__(
        self,
        kind: str,
        place: Callable[[], Any],
        changed: Callable[[], Awaitable[None]],
        *,
        figures: Callable[[Any], Awaitable[dict[str, Any]]],
    ) -> None:
        """`place` asks Ray for one; `changed` is called when it is others that are up; `figures` of an actor are empty
        when it has been started again by Ray and is not up."""
        self._kind = kind
        self._place = place
        self._changed = changed
        self._figures = figures
        self._made = 0
        self._looking: asyncio.Task[dict[str, Health]] | None = None
        self._looked = 0.0
        self.members: dict[str, PooledActor] = {}

    def up(self) -> list[PooledActor]:
        return [member for member in self.members.values() if member.answer is not None]

    def ask_for(self, count: int, *, patient: bool = True) -> list[asyncio.Task[None]]:
        """More of them; the answer is tasks that end when each is up. Without patience they raise what keeps one from
        starting at all; a node for it is waited for however long that takes."""
        return [self._ask_for_one(patient=patient) for _ in range(count)]

    def _ask_for_one(self, *, patient: bool) -> asyncio.Task[None]:
        member = PooledActor(f"{self._kind}-{self._made}", self._place())
        self._made += 1
        self.members[member.name] = member
        return self._await(member, patient=patient)

    def _await(self, member: PooledActor, *, patient: bool) -> asyncio.Task[None]:
        member.coming = asyncio.create_task(self._come_up(member, patient=patient))
        member.coming.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # its caller's, if any
        return member.coming

    async def _come_up(self, member: PooledActor, *, patient: bool) -> None:
        member.answer = await until_up(member.name, lambda: expected(member.actor.start.remote()), patient=patient)
        member.coming = None
        await self._changed()

    async def look(self) -> dict[str, Health]:
        """By name, of those that were up a moment ago."""
        now = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now - self._looked > FRESH_S):
            self._looking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._looking)

    async def _ask_all(self) -> dict[str, Health]:
        up = self.up()
        looks = await asyncio.gather(*(self._ask(member) for member in up))
        self._looked = asyncio.get_running_loop().time()
        return {member.name: look for member, look in zip(up, looks, strict=True)}

    async def _ask(self, member: PooledActor) -> Health:
        try:
            figures = await asyncio.wait_for(self._figures(member.actor), ANSWER_S)
        except (TimeoutError, RayTaskError):
            return Health.SLOW
        except RayActorError:
            return Health.LOST
        if not figures:
            return Health.LOST
        member.seen = figures
        return Health.ANSWERED

    async def watch(self) -> None:
        """Takes out those that are lost, and sees that they come back. Until cancelled."""
        while True:
            await asyncio.sleep(max(LOOK_S, len(self.members) / A_SECOND))
            found = await self.look()
            lost = [member for member in self.up() if found.get(member.name) is Health.LOST]
            for member in lost:
                log.warning("%s was lost", member.name)
                member.answer = None
                self._await(member, patient=True)
            if lost:
                await self._changed()

    def abandon(self) -> None:
        """Waits for nothing any more."""
        for member in self.members.values():
            if member.coming is not None:
                member.coming.cancel()
        if self._looking is not None:
            self._looking.cancel()


async def until_up(name: str, start: Callable[[], Awaitable[T]], *, patient: bool) -> T:
    """Until there is a node for it. What keeps it from starting there is raised, or with patience said in the log: the
    next node may be better."""
    while True:
        try:
            return await start()
        except RayActorError:
            await asyncio.sleep(LOOK_S)
        except BerryError as error:
            if not patient:
                raise
            log.warning("%s is not up yet: %s", name, error)
            await asyncio.sleep(REFUSED_S)
