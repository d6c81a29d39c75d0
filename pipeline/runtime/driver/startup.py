"""Starts what a run works with: one engine in this process, or actors on Ray.

start ─► in this process │ on Ray ─► Started (workers, their sandbox slots, how to load weights and how to stop)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.placement import Placement
from berry.pipeline.runtime.actors import local_worker
from berry.pipeline.runtime.display import STARTING_RAY, Display
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.worker import SandboxSlots, Worker
from berry.pipeline.storage.files import Location

Join = Callable[[Worker], None]


async def _no_reward_actors() -> list[str]:
    return []


async def _nothing_changes(join: Join) -> None:
    del join


def _nothing_counted() -> dict[str, int]:
    return {}


@dataclass(frozen=True, slots=True)
class Started:
    """What was started.

    workers:              those that are up; the list grows when more engines come up
    slots:                the sandbox slots they share
    stop:                 ends all of it
    load_reward_weights:  reward actors take the weights that serve now; returns what could not be taken, in words
    watch:                beside a coordinator, until cancelled: sees to actors that come and go with their nodes, and
                          lets new engines join; raises BerryError when nothing can go on
    losses:               actors that were lost so far, other than workers, by kind
    ray_address:          of the Ray that it is on; None without Ray
    scored_tokens:        tokens that the models of reward actors have read so far, by model
    """

    workers: list[Worker]
    slots: SandboxSlots
    stop: Callable[[], Awaitable[None]]
    load_reward_weights: Callable[[], Awaitable[list[str]]] = _no_reward_actors
    watch: Callable[[Join], Awaitable[None]] = _nothing_changes
    losses: Callable[[], dict[str, int]] = _nothing_counted
    scored_tokens: Callable[[], dict[str, int]] = _nothing_counted
    ray_address: str | None = None


async def start(
    config: RunConfig, launch: Launch, planned: Placement, location: Location, round_index: int, display: Display
) -> Started:
    """Starts engines and sandboxes, and returns when they can serve. Raises EngineError, ResourceError."""
    if launch.local:
        display.phase(f"starting {len(config.engines) or 'the'} engine{'s' * bool(config.engines)} in this process")
        workers, stop = await local_worker.start(config, planned, location, round_index)
        return Started([*workers], workers[0], stop)
    return await _start_on_ray(config, launch, planned, location, round_index, display)


async def _start_on_ray(
    config: RunConfig, launch: Launch, planned: Placement, location: Location, round_index: int, display: Display
) -> Started:
    from berry.pipeline.runtime.cluster import connect
    from berry.pipeline.runtime.cluster.fleet import Fleet

    began = time.monotonic()
    display.phase(STARTING_RAY)
    now = await asyncio.to_thread(connect.connect, launch.address, config.cluster, planned, config.engine_roles)
    display.phase(f"loading {now.rollout.actors} engine(s), {now.sandbox.actors} sandbox actor(s)")
    if planned.train is not None:  # what would wait for nodes could take the training's place
        if any(here.actors < all_.actors for here, all_ in zip(now.roles, planned.roles, strict=True)):
            display.note(
                "fewer actors fit the nodes that are there; with rounds.overlap no others start when nodes join"
            )
        planned = now
    owns_ray = not connect.address_of_cluster(launch.address)
    fleet = Fleet(config, planned, run_url=location.url, round_index=round_index, note=display.note, owns_ray=owns_ray)
    try:
        await fleet.start(now)
    except BaseException:
        fleet.abandon()
        await asyncio.to_thread(connect.disconnect)
        raise
    display.note(
        f"{len(fleet.workers)} engine(s) of {', '.join(fleet.models.values())}, "
        f"{now.sandbox.total_slots} sandbox slots; "
        f"ready in {time.monotonic() - began:.0f} s"
    )
    return Started(
        fleet.workers,
        fleet,
        fleet.stop,
        fleet.load_reward_weights,
        fleet.watch,
        fleet.losses,
        fleet.scored_tokens,
        connect.address_of_cluster(launch.address) or connect.address_of_ray_here(),
    )
