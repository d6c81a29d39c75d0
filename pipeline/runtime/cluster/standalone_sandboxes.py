"""Starts sandboxes on a Ray cluster without a run, for `berry verify`: an actor on every node that has cores.

    join ─► an actor a node, of as many slots as the node has cores ─► VerifyClient ─► verdicts

Nodes that have no core free within `START_S` are left out and named; one at least must come up. An actor whose node
dies is started again on another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from berry.pipeline.errors import ResourceError
from berry.pipeline.runtime.actors.remote import expected
from berry.pipeline.runtime.actors.sandbox_client import SandboxEndpoint, VerifyClient
from berry.pipeline.runtime.cluster import connect
from berry.pipeline.runtime.cluster.placement import CONCURRENT_CALLS
from berry.verifiers.config import CheckerConfig

START_S = 60.0  # within which a node must have cores free


@dataclass(frozen=True, slots=True)
class StandaloneSandboxes:
    """A cluster's sandbox actors and their client. `left_out`: nodes that had no cores free."""

    client: VerifyClient
    actors: tuple[Any, ...]
    slots: int
    left_out: tuple[str, ...] = ()


@asynccontextmanager
async def sandboxes_at(
    address: str, config: CheckerConfig, *, start_s: float = START_S
) -> AsyncIterator[StandaloneSandboxes]:
    """Starts sandboxes on the cluster at `address`, `config.slots` (default: its cores) on each node. Raises
    ResourceError."""
    await asyncio.to_thread(connect.join, address)
    try:
        sandboxes = await _start(address, config, start_s)
        try:
            yield sandboxes
        finally:
            stopping = [asyncio.ensure_future(actor.stop.remote()) for actor in sandboxes.actors]
            await asyncio.wait(stopping, timeout=10)
    finally:
        await asyncio.to_thread(connect.disconnect)


async def _start(address: str, config: CheckerConfig, start_s: float) -> StandaloneSandboxes:
    import ray

    cores = {
        node["NodeID"]: (node["NodeManagerAddress"], int(node["Resources"].get("CPU", 0)))
        for node in ray.nodes()
        if node["Alive"]
    }
    wanted = [(node, name, min(config.slots or cpus, cpus)) for node, (name, cpus) in cores.items() if cpus >= 1]
    if not wanted:
        raise ResourceError(f"the Ray cluster at {address} has no node with a CPU core: start one with --num-cpus")
    actors = [_place(node, config.model_copy(update={"slots": slots}), slots) for node, _, slots in wanted]
    starting = [asyncio.ensure_future(expected(actor.start.remote())) for actor in actors]
    done, _ = await asyncio.wait(starting, timeout=start_s)
    for task in done:
        task.result()
    up = [task in done for task in starting]
    for actor, is_up in zip(actors, up, strict=True):
        if not is_up:
            ray.kill(actor)
    if not any(up):
        raise ResourceError(
            f"the Ray cluster at {address} freed no cores within {start_s:g} s: ask for fewer with --slots, or wait "
            "until what runs there has ended"
        )
    ready = [(actor, w) for actor, w, is_up in zip(actors, wanted, up, strict=True) if is_up]
    return StandaloneSandboxes(
        VerifyClient([SandboxEndpoint(node, actor, slots, node) for actor, (node, _, slots) in ready]),
        tuple(actor for actor, _ in ready),
        sum(slots for _, (_, _, slots) in ready),
        tuple(name for (_, name, _), is_up in zip(wanted, up, strict=True) if not is_up),
    )


def _place(node: str, config: CheckerConfig, cpus: int) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from berry.pipeline.runtime.actors.sandbox_actor import sandbox_actor

    return sandbox_actor.options(
        num_cpus=cpus,
        max_restarts=-1,
        max_concurrency=CONCURRENT_CALLS,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=True),
        runtime_env={"env_vars": {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}},
    ).remote(config)
