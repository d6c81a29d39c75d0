"""Brings up what a run works with: one engine in this process, or actors on Ray.

in_process | on_ray ─► Started (workers, the sandbox slots behind them, what else is refreshed, how to stop)
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.layout import Layout
from pipeline.config.run import RunConfig
from pipeline.runtime import local
from pipeline.runtime.balancing import Pool
from pipeline.runtime.coordinator import Worker
from pipeline.runtime.outcome import Display, Launch
from pipeline.stages.leases import searches_at_once
from pipeline.storage.files import Location


@dataclass(frozen=True, slots=True)
class Started:
    workers: list[Worker]
    stop: Callable[[], Awaitable[None]]
    pool: Pool | None = None
    helpers: list[Any] = field(default_factory=list)  # reward actors


async def start(
    config: RunConfig, launch: Launch, layout: Layout, location: Location, round_index: int, display: Display
) -> Started:
    """Raises EngineError, ResourceError."""
    if launch.local:
        display.phase("starting the engine in this process")
        worker, stop = await local.start(config, layout, location, round_index)
        return Started([worker], stop, worker)
    return await on_ray(config, launch, layout, location, round_index, display)


async def on_ray(
    config: RunConfig, launch: Launch, layout: Layout, location: Location, round_index: int, display: Display
) -> Started:
    """Raises EngineError, ResourceError."""
    from pipeline.runtime import cluster
    from pipeline.runtime.workers import RayWorker, expected

    began = time.monotonic()
    display.phase("starting Ray")
    await asyncio.to_thread(cluster.connect, launch.address, layout)
    fleet = cluster.place_actors(config, layout, place=location.url, round_index=round_index)
    display.phase(f"loading {len(fleet.rollout)} engine(s), {len(fleet.sandbox)} sandbox actor(s)")
    workers = [RayWorker(actor, worker_id, 1, fleet.sandbox, fleet.reward) for worker_id, actor in fleet.rollout]

    async def stop() -> None:
        await asyncio.gather(*(w.stop() for w in workers))
        helpers = [*fleet.sandbox, *fleet.reward]
        await asyncio.wait([asyncio.ensure_future(a.stop.remote()) for a in helpers], timeout=10)
        cluster.disconnect()

    try:
        await asyncio.gather(*(expected(a.start.remote()) for a in fleet.reward))
        infos = await asyncio.gather(*(w.start() for w in workers))
        await asyncio.gather(*(expected(a.start.remote()) for a in fleet.sandbox))
    except BaseException:
        await asyncio.to_thread(cluster.disconnect)
        raise
    for worker, info in zip(workers, infos, strict=True):
        searches = searches_at_once(config.rollout, info["max_num_seqs"])
        worker.leases_at_once = math.ceil(searches / config.storage.lease_problems) + 1
    display.note(
        f"{len(workers)} engine(s) of {infos[0]['model']}, {layout.sandbox.total_slots} sandbox slots; "
        f"ready in {time.monotonic() - began:.0f} s"
    )
    return Started(list(workers), stop, None, fleet.reward)
