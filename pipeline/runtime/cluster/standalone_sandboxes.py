"""Starts sandboxes on a Ray cluster without a run, for `berry verify`: an actor on every node that has cores.

    join ─► an actor a node, of as many slots as the node has cores ─► VerifyClient ─► verdicts

Nodes that have no core free within `START_S` are left out and named; one at least must come up. An actor whose node
dies is started again on another one, and one that hangs in its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from berry.pipeline.errors import ResourceError
from berry.pipeline.runtime.actors.sandbox_client import SandboxEndpoint, VerifyClient
from berry.pipeline.runtime.cluster import connect
from berry.pipeline.runtime.cluster.actor_pool import ActorPool
from berry.pipeline.runtime.cluster.placement import CONCURRENT_CALLS
from berry.pipeline.runtime.monitoring.stalls import activity_of_checker
from berry.pipeline.tasks import end_tasks
from berry.verifiers.config import CheckerConfig

START_S = 60.0  # within which a node must have cores free
LEAST_STALL_S = 120.0  # for which an actor may end no check that it was asked for


@dataclass(frozen=True, slots=True)
class StandaloneSandboxes:
    """A cluster's sandbox actors and their client. `actors`: how many; `left_out`: nodes that had no cores free."""

    client: VerifyClient
    actors: int
    slots: int
    left_out: tuple[str, ...] = ()


@asynccontextmanager
async def sandboxes_at(
    address: str,
    config: CheckerConfig,
    *,
    note: Callable[[str], None],
    start_s: float = START_S,
    stall_s: float | None = None,
) -> AsyncIterator[StandaloneSandboxes]:
    """Starts sandboxes on the cluster at `address`, `config.slots` (default: its cores) on each node; an actor that is
    lost, or ends no check for `stall_s` seconds (default: longer than any may take), is started again, which is said by
    `note`. Raises ResourceError."""
    await asyncio.to_thread(connect.join, address)
    try:
        wanted = _places(address, config)
        made = iter(wanted)
        client = VerifyClient([])
        pool = ActorPool(
            "sandbox",
            lambda: _place(next(made), config),
            lambda: _send(pool, wanted, client),
            figures=lambda actor: actor.metrics.remote(),
            activity=activity_of_checker,
            stall_s=max(LEAST_STALL_S, 8 * config.wall_s) if stall_s is None else stall_s,
            note=note,
        )
        try:
            left_out = await _start(address, pool, wanted, start_s)
            watching = asyncio.create_task(pool.watch())
            up = [place for place, name in zip(wanted, pool.actors, strict=True) if name not in left_out]
            try:
                yield StandaloneSandboxes(
                    client,
                    len(up),
                    sum(place.slots for place in up),
                    tuple(place.host for place, name in zip(wanted, pool.actors, strict=True) if name in left_out),
                )
            finally:
                pool.abandon()
                await end_tasks([watching])
                stopping = [asyncio.ensure_future(one.actor.stop.remote()) for one in pool.up()]
                if stopping:
                    await asyncio.wait(stopping, timeout=10)
        finally:
            pool.abandon()
    finally:
        await asyncio.to_thread(connect.disconnect)


@dataclass(frozen=True, slots=True)
class _NodePlace:
    """What an actor takes of a node."""

    node: str
    host: str
    slots: int


def _places(address: str, config: CheckerConfig) -> list[_NodePlace]:
    import ray

    cores = [
        (node["NodeID"], node["NodeManagerAddress"], int(node["Resources"].get("CPU", 0)))
        for node in ray.nodes()
        if node["Alive"]
    ]
    wanted = [_NodePlace(node, host, min(config.slots or cpus, cpus)) for node, host, cpus in cores if cpus >= 1]
    if not wanted:
        raise ResourceError(f"the Ray cluster at {address} has no node with a CPU core: start one with --num-cpus")
    return wanted


async def _send(pool: ActorPool, wanted: Sequence[_NodePlace], client: VerifyClient) -> None:
    """Tells the client which actors are up."""
    client.update(
        [
            SandboxEndpoint(one.name, one.actor, place.slots, one.started)
            for place, one in zip(wanted, pool.actors.values(), strict=False)
            if one.started is not None
        ]
    )


async def _start(address: str, pool: ActorPool, wanted: Sequence[_NodePlace], start_s: float) -> set[str]:
    """Starts the actors; returns the names of those that found no cores free."""
    import ray

    starting = pool.ask_for(len(wanted), patient=False)
    done, _ = await asyncio.wait(starting, timeout=start_s)
    for task in done:
        task.result()
    late = {name for task, name in zip(starting, pool.actors, strict=True) if task not in done}
    for name in late:
        ray.kill(pool.actors[name].actor)
    for task in starting:
        task.cancel()
    if len(late) == len(wanted):
        raise ResourceError(
            f"the Ray cluster at {address} freed no cores within {start_s:g} s: ask for fewer with --slots, or wait "
            "until what runs there has ended"
        )
    return late


def _place(place: _NodePlace, config: CheckerConfig) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from berry.pipeline.runtime.actors.sandbox_actor import sandbox_actor

    return sandbox_actor.options(
        num_cpus=place.slots,
        max_restarts=-1,
        max_concurrency=CONCURRENT_CALLS,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=place.node, soft=True),
        runtime_env={"env_vars": {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}},
    ).remote(config.model_copy(update={"slots": place.slots}))
