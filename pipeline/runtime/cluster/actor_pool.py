"""Keeps the actors of one kind, sandbox actors or reward actors, while nodes come and go.

ask_for ─► starting ─► up ◄─► lost (its node left; Ray starts it again where there is room)
health  ─► what each that is up answers: one question to each for all who ask at about the same time
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar

from ray.exceptions import RayActorError, RayTaskError

from berry.pipeline.errors import BerryError, ResourceError
from berry.pipeline.runtime.actors.process import Home
from berry.pipeline.runtime.actors.remote import end_process, expected, reason
from berry.pipeline.runtime.monitoring.stalls import Activity, SilenceTimer

HEALTH_POLL_S = 1.0  # between two questions to every actor; longer where there are many
POLLS_A_SECOND = 100  # at most, so that asking costs the driver no more
AT_ONCE = 16  # of these questions in one turn of the event loop, each a quarter of a millisecond
ANSWER_S = 5.0  # for which an answer is waited for
FRESH_S = 0.3  # for which an answer holds
MOST_STARTS = 5  # of an actor that ends while it starts, where that is an error
RETRY_S = 10.0  # after which an actor that could not start is started again
T = TypeVar("T")
log = logging.getLogger(__name__)


class Health(Enum):
    """What came of asking an actor for its figures."""

    ANSWERED = auto()  # its figures are in `PooledActor.figures`
    SLOW = auto()  # no answer yet
    LOST = auto()  # dead, or started again by Ray and not up


@dataclass(slots=True)
class PooledActor:
    """One actor of a pool. `started`: what its `start` returned; None while it is not up."""

    name: str
    actor: Any
    starting: asyncio.Task[None] | None = None
    started: Any = None
    home: Home | None = None
    silence: SilenceTimer = field(default_factory=lambda: SilenceTimer(0.0))
    figures: dict[str, Any] | None = None  # when it last gave them


class ActorPool:
    """Asks for actors of one kind, notices when one is lost or hangs, and has it started again."""

    def __init__(
        self,
        kind: str,
        request: Callable[[], Any],
        changed: Callable[[], Awaitable[None]],
        *,
        figures: Callable[[Any], Awaitable[dict[str, Any]]],
        activity: Callable[[dict[str, Any]], Activity],
        took: Callable[[str, dict[str, Any]], None] = lambda _name, _figures: None,
        stall_s: float,
        note: Callable[[str], None],
    ) -> None:
        """`request` asks Ray for an actor; `changed` is called when others are up than before; `figures` asks an actor
        for its own, which are empty when Ray has started it again and it is not up; `activity` says from them what it
        has done and whether it owes more, and one that shows nothing for `stall_s` seconds is ended; `took` is told the
        figures of each. Losses are said
        by `note` and counted in `losses`."""
        self._kind = kind
        self._request = request
        self._changed = changed
        self._figures = figures
        self._activity = activity
        self._took = took
        self._stall_s = stall_s
        self._note = note
        self.losses = 0
        self._made = 0
        self._asking: asyncio.Task[dict[str, Health]] | None = None
        self._asked_at = 0.0
        self.actors: dict[str, PooledActor] = {}

    def up(self) -> list[PooledActor]:
        return [one for one in self.actors.values() if one.started is not None]

    def ask_for(self, count: int, *, patient: bool = True) -> list[asyncio.Task[None]]:
        """Asks for more actors; returns tasks that end when each is up. A node for it is waited for however long that
        takes;
        an error of its start is raised, or with patience said in the log, and it is started again."""
        return [self._ask_for_one(patient=patient) for _ in range(count)]

    def _ask_for_one(self, *, patient: bool) -> asyncio.Task[None]:
        pooled = PooledActor(f"{self._kind}-{self._made}", self._request())
        self._made += 1
        self.actors[pooled.name] = pooled
        return self._start(pooled, patient=patient)

    def _start(self, pooled: PooledActor, *, patient: bool) -> asyncio.Task[None]:
        pooled.starting = asyncio.create_task(self._until_up(pooled, patient=patient))
        pooled.starting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # its awaiter raises
        return pooled.starting

    async def _until_up(self, pooled: PooledActor, *, patient: bool) -> None:
        pooled.started = await until_up(pooled.name, lambda: expected(pooled.actor.start.remote()), patient=patient)
        with suppress(RayActorError, RayTaskError, TimeoutError):
            pooled.home = await asyncio.wait_for(pooled.actor.home.remote(), ANSWER_S)
        pooled.silence = SilenceTimer(time.monotonic())
        pooled.starting = None
        await self._changed()

    async def health(self) -> dict[str, Health]:
        """The health of those that were up a moment ago, by name."""
        now = asyncio.get_running_loop().time()
        if self._asking is None or (self._asking.done() and now - self._asked_at > FRESH_S):
            self._asking = asyncio.create_task(self._ask_all())
        return await asyncio.shield(self._asking)

    async def _ask_all(self) -> dict[str, Health]:
        up = self.up()
        asked: list[asyncio.Task[Health]] = []
        for one in up:
            asked.append(asyncio.create_task(self._ask(one)))
            if len(asked) % AT_ONCE == 0:
                await asyncio.sleep(0)  # reports and leases go between
        answers = await asyncio.gather(*asked)
        self._asked_at = asyncio.get_running_loop().time()
        return {pooled.name: health for pooled, health in zip(up, answers, strict=True)}

    async def _ask(self, pooled: PooledActor) -> Health:
        try:
            figures = await asyncio.wait_for(self._figures(pooled.actor), ANSWER_S)
        except (TimeoutError, RayTaskError):
            return Health.SLOW
        except RayActorError:
            return Health.LOST
        if not figures:
            return Health.LOST
        pooled.figures = figures
        self._took(pooled.name, figures)
        return Health.ANSWERED

    async def watch(self) -> None:
        """Takes out actors that are lost or hang, and has them started again, until cancelled."""
        while True:
            await asyncio.sleep(max(HEALTH_POLL_S, len(self.actors) / POLLS_A_SECOND))
            health = await self.health()
            asked = [pooled for pooled in self.up() if pooled.name in health]
            hung = {pooled.name for pooled in asked if self._hangs(pooled, health[pooled.name])}
            lost = [pooled for pooled in asked if pooled.name in hung or health[pooled.name] is Health.LOST]
            for pooled in lost:
                self.losses += 1
                if pooled.name not in hung:
                    self._note(f"{pooled.name} was lost; it is started again, and what it was asked is asked elsewhere")
                pooled.started = None
                self._start(pooled, patient=True)
            if lost:
                await self._changed()

    def _hangs(self, pooled: PooledActor, health: Health) -> bool:
        """Whether it has shown no progress for too long; it is ended then."""
        activity = self._activity(pooled.figures or {}) if health is Health.ANSWERED else None
        silent_s = pooled.silence.silent_s(activity, time.monotonic())
        if health is Health.LOST or silent_s <= self._stall_s:
            return False
        self._note(
            f"{pooled.name} made no progress for {silent_s:.0f} s (storage.stall_s {self._stall_s:g}): it is ended and "
            "started again, and what it was asked is asked elsewhere"
        )
        end_process(pooled.actor, pooled.home)
        return True

    def abandon(self) -> None:
        """Stops waiting for actors that are starting."""
        for pooled in self.actors.values():
            if pooled.starting is not None:
                pooled.starting.cancel()
        if self._asking is not None:
            self._asking.cancel()


async def until_up(name: str, start: Callable[[], Awaitable[T]], *, patient: bool) -> T:
    """What `start` returns, once there is a node for the actor. An error of its start is raised, or with patience said
    in the log and started again: the next node may be better."""
    ended = 0
    while True:
        try:
            return await start()
        except RayActorError as error:
            ended += 1
            if ended == MOST_STARTS:
                text = f"{name} ended {ended} times while it started ({reason(error)}); killed for memory?"
                if not patient:
                    raise ResourceError(text) from None
                log.warning("%s It is started again for as long as it takes", text)
            await asyncio.sleep(HEALTH_POLL_S)
        except BerryError as error:
            if not patient:
                raise
            log.warning("%s is not up yet: %s", name, error)
            await asyncio.sleep(RETRY_S)
