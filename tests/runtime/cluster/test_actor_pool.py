"""Actors that are lost, freeze or never come up are noticed, said in a line and started again. Actors are pretended; on
real Ray in tests/cluster/test_hangs.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from ray.exceptions import RayActorError

from berry.pipeline.errors import ResourceError
from berry.pipeline.runtime.cluster import actor_pool
from berry.pipeline.runtime.cluster.actor_pool import MOST_STARTS, ActorPool, until_up
from berry.pipeline.runtime.monitoring.stalls import activity_of_checker


class Method:
    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call

    async def remote(self) -> Any:
        return self._call()


class Pretended:
    """An actor whose figures are set by the test; None: it is dead."""

    def __init__(self) -> None:
        self.figures: dict[str, float] | None = {"in_service": 2, "pool_jobs": 1}
        self.starts = 0
        self.start = Method(self._start)
        self.home = Method(lambda: ("node", 7))
        self.metrics = Method(self._metrics)

    def _start(self) -> str:
        self.starts += 1
        self.figures = self.figures or {"in_service": 0, "pool_jobs": 0}
        return "node"

    def _metrics(self) -> dict[str, float]:
        if self.figures is None:
            raise RayActorError
        return self.figures


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_pool, "HEALTH_POLL_S", 0.01)
    monkeypatch.setattr(actor_pool, "FRESH_S", 0.0)


async def watched(actor: Pretended, *, stall_s: float, during: Callable[[], Any]) -> tuple[list[str], ActorPool]:
    notes: list[str] = []

    async def changed() -> None:
        return

    pool = ActorPool(
        "sandbox",
        lambda: actor,
        changed,
        figures=lambda one: one.metrics.remote(),
        activity=activity_of_checker,
        stall_s=stall_s,
        note=notes.append,
    )
    await asyncio.gather(*pool.ask_for(1))
    watching = asyncio.create_task(pool.watch())
    during()
    await asyncio.sleep(0.3)
    watching.cancel()
    return notes, pool


async def test_one_that_dies_is_said_and_started_again() -> None:
    actor = Pretended()
    notes, pool = await watched(actor, stall_s=60, during=lambda: setattr(actor, "figures", None))
    assert notes == ["sandbox-0 was lost; it is started again, and what it was asked is asked elsewhere"]
    assert (actor.starts, pool.losses, len(pool.up())) == (2, 1, 1)


async def test_one_that_finishes_nothing_is_ended_by_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    actor, ended = Pretended(), []
    monkeypatch.setattr(actor_pool, "end_process", lambda one, home: ended.append((one, home)))
    notes, pool = await watched(actor, stall_s=0.2, during=lambda: None)
    assert ended == [(actor, ("node", 7))]
    assert notes[0].startswith("sandbox-0 made no progress for 0 s (storage.stall_s 0.2): it is ended")
    assert (actor.starts, pool.losses) == (2, 1)


async def test_one_that_has_nothing_to_do_is_left_alone() -> None:
    actor = Pretended()
    idle = {"in_service": 0.0, "pool_jobs": 1.0}
    notes, _ = await watched(actor, stall_s=0.1, during=lambda: setattr(actor, "figures", idle))
    assert notes == []


async def test_one_that_ends_at_every_start_is_an_error_and_no_silent_loop() -> None:
    starts = 0

    async def dies() -> None:
        nonlocal starts
        starts += 1
        raise RayActorError

    with pytest.raises(ResourceError, match=f"reward-0 ended {MOST_STARTS} times while it started"):
        await until_up("reward-0", dies, patient=False)
    assert starts == MOST_STARTS


async def test_many_are_asked_a_few_in_each_turn_of_the_loop() -> None:
    actors, asked, seen = 100, 0, [0]

    async def changed() -> None:
        return

    async def figures(_actor: Pretended) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"in_service": 0, "pool_jobs": 0}

    pool = ActorPool(
        "sandbox", Pretended, changed, figures=figures, activity=activity_of_checker, stall_s=60, note=lambda _: None
    )
    await asyncio.gather(*pool.ask_for(actors))
    asking = asyncio.create_task(pool.health())
    while not asking.done():
        await asyncio.sleep(0)
        seen.append(asked)
    assert set(await asking) == set(pool.actors)
    assert asked == actors
    assert max(after - before for before, after in pairwise(seen)) <= actor_pool.AT_ONCE
