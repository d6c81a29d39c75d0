"""Brings up what a run works with: one engine in this process, or actors on Ray.

in_process | on_ray ─► Started (workers, the sandbox slots behind them, what else loads weights, how to stop)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.placement import Placement
from berry.pipeline.runtime.actors import local_worker
from berry.pipeline.runtime.display import Display
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.worker import Pool, Worker
from berry.pipeline.storage.files import Location


async def _none() -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class Started:
    workers: list[Worker]
    stop: Callable[[], Awaitable[None]]
    pool: Pool | None = None
    load_reward_weights: Callable[[], Awaitable[list[str]]] = _none  # reward actors take the weights that serve now


async def start(
    config: RunConfig, launch: Launch, planned: Placement, location: Location, round_index: int, display: Display
) -> Started:
    """Raises EngineError, ResourceError."""
    if launch.local:
        display.phase("starting the engine in this process")
        worker, stop = await local_worker.start(config, planned, location, round_index)
        return Started([worker], stop, worker)
    return await on_ray(config, launch, planned, location, round_index, display)


async def on_ray(
    config: RunConfig, launch: Launch, planned: Placement, location: Location, round_index: int, display: Display
) -> Started:
    """Raises EngineError, ResourceError."""
    from berry.pipeline.runtime.cluster import connect
    from berry.pipeline.runtime.cluster.fleet import Fleet

    began = time.monotonic()
    display.phase("starting Ray")
    now = await asyncio.to_thread(connect.connect, launch.address, config.cluster, planned)
    display.phase(f"loading {now.rollout.actors} engine(s), {now.sandbox.actors} sandbox actor(s)")
    fleet = Fleet(config, planned, place=location.url, round_index=round_index, note=display.note)
    try:
        await fleet.begin(now)
    except BaseException:
        fleet.abandon()
        await asyncio.to_thread(connect.disconnect)
        raise
    display.note(
        f"{len(fleet.workers)} engine(s) of {fleet.model}, {now.sandbox.total_slots} sandbox slots; "
        f"ready in {time.monotonic() - began:.0f} s"
    )
    return Started(fleet.workers, fleet.stop, fleet, fleet.load_reward_weights)
