"""The actors of one run, while nodes come and go and the balance asks for more sandboxes or fewer.

    placing ─► Fleet.begin (what fits now is waited for; the rest is asked for and waits for its node)
    a node joins ─► its actors come up ─► sites to every worker, new workers to the coordinator
    a node leaves ─► its sites are taken out, its leases handed out again; Ray starts its actors where there is room
    resize ─► sandbox actors asked for, or emptied and then ended

Engines, sandboxes and reward actors alike. Where no reward actor fits at the start, each engine's process loads the
reward models itself.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import ray

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.balance import Bounds, slot_bounds
from berry.pipeline.core.placement import Placement
from berry.pipeline.runtime.actors.reward_actor import load_weights_on
from berry.pipeline.runtime.actors.reward_client import Replica
from berry.pipeline.runtime.actors.rollout_handle import RayWorker
from berry.pipeline.runtime.cluster import placement
from berry.pipeline.runtime.cluster.actor_pool import ActorPool, until_up
from berry.pipeline.runtime.cluster.sandbox_pool import SandboxSites
from berry.pipeline.runtime.worker import Worker
from berry.pipeline.stages.rollout.admission import searches_at_once

STOP_S = 10.0


class Fleet:
    """`workers` are those that are up, in a list that others may hold on to; it grows when engines come up."""

    def __init__(
        self, config: RunConfig, planned: Placement, *, place: str, round_index: int, note: Callable[[str], None]
    ) -> None:
        self._config = config
        self._planned = planned
        self._place = place
        self._round = round_index
        self._note = note
        self._coming: list[asyncio.Task[None]] = []  # of engines that are asked for and not up yet
        self._groups: list[Any] = []
        self._join: Callable[[Worker], None] = lambda _: None
        self.workers: list[Worker] = []
        self.rewards = ActorPool(
            "reward",
            lambda: placement.reward(config, planned, place=place),
            self._tell,
            figures=lambda actor: actor.counters.remote(),
        )
        self.sandboxes = SandboxSites(lambda: placement.sandbox(config, planned), planned.sandbox.slots, self._tell)
        self.model = ""

    async def begin(self, now: Placement) -> None:
        """Raises EngineError, ResourceError."""
        first = [self._new_worker(n) for n in range(now.rollout.actors)]
        await asyncio.gather(*(group.ready() for group in self._groups))  # before fractions of GPUs are taken
        rewards = self.rewards.ask_for(now.reward.actors if self._config.scored_by else 0, patient=False)
        sandboxes = self.sandboxes.crew.ask_for(now.sandbox.actors, patient=False)
        await asyncio.gather(*rewards)
        infos, _ = await asyncio.gather(
            asyncio.gather(*(worker.start() for worker in first)), asyncio.gather(*sandboxes)
        )
        for worker, info in zip(first, infos, strict=True):
            self._is_up(worker, info)
        await self._tell()
        self._ask_for_the_rest(now)

    def _ask_for_the_rest(self, now: Placement) -> None:
        for n in range(now.rollout.actors, self._planned.rollout.actors):
            self._coming.append(asyncio.create_task(self._come_up(self._new_worker(n))))
        self.sandboxes.crew.ask_for(self._planned.sandbox.actors - now.sandbox.actors)
        if self.rewards.members:
            self.rewards.ask_for(self._planned.reward.actors - now.reward.actors)
        planned = self._planned
        roles = [("engines", now.rollout, planned.rollout), ("sandbox actors", now.sandbox, planned.sandbox)]
        roles += [("reward actors", now.reward, planned.reward)] if self.rewards.members else []
        if any(there.actors < wanted.actors for _, there, wanted in roles):
            listed = ", ".join(f"{there.actors} of {wanted.actors} {name}" for name, there, wanted in roles)
            self._note(f"{listed} fit the nodes that are there; the others start when nodes join")

    def _new_worker(self, number: int) -> RayWorker:
        name = f"rollout-{number}"
        actor, group = placement.rollout(
            self._config, self._planned, place=self._place, worker_id=name, round_index=self._round
        )
        if group is not None:
            self._groups.append(group)
        return RayWorker(actor, name, 1, self.sandboxes, self._replicas, needed=self._none_up)

    def _replicas(self) -> list[Replica] | None:
        if not self.rewards.members:
            return None
        return [Replica(member.name, member.actor) for member in self.rewards.up()]

    async def load_reward_weights(self) -> list[str]:
        """Those that are up take the weights that serve now; others do when they start. Returns what went wrong."""
        return await load_weights_on([member.actor for member in self.rewards.up()])

    def _none_up(self) -> bool:
        return not any(w.is_up for w in self.workers if isinstance(w, RayWorker))

    def _is_up(self, worker: RayWorker, info: dict[str, Any]) -> None:
        self.model = info["model"]
        searches = searches_at_once(self._config.rollout, info["max_num_seqs"])
        worker.leases_at_once = math.ceil(searches / self._config.storage.lease_problems) + 1
        self.workers.append(worker)

    async def _come_up(self, worker: RayWorker) -> None:
        self._is_up(worker, await until_up(worker.worker_id, worker.start, patient=True))
        self._note(f"{worker.worker_id} came up: {len(self.workers)} engines")
        self._join(worker)

    async def _tell(self) -> None:
        """Every engine which sandboxes and reward actors are up."""
        await asyncio.gather(*(w.tell() for w in self.workers if isinstance(w, RayWorker)))

    async def watch(self, join: Callable[[Worker], None]) -> None:
        """Beside a coordinator, which gets the engines that come up."""
        self._join = join
        try:
            await asyncio.gather(self.sandboxes.crew.watch(), self.rewards.watch())
        finally:
            self._join = lambda _: None

    # ---- the sandbox slots ------------------------------------------------------------------------------------------

    def bounds(self) -> Bounds:
        return slot_bounds(self._planned, fixed=self._config.cluster.ratio != "auto")

    def size(self) -> int:
        return self.sandboxes.asked_for * self._planned.sandbox.slots

    async def resize(self, slots: int) -> None:
        await self.sandboxes.resize(slots // self._planned.sandbox.slots)

    def abandon(self) -> None:
        """Waits for nothing any more."""
        for task in self._coming:
            task.cancel()
        self.sandboxes.abandon()
        self.rewards.abandon()

    async def stop(self) -> None:
        self.abandon()
        await asyncio.gather(*(w.stop() for w in self.workers if isinstance(w, RayWorker)))
        ending = [asyncio.ensure_future(member.actor.stop.remote()) for member in self.rewards.up()]
        ending += [asyncio.ensure_future(site.actor.stop.remote()) for site in self.sandboxes.up()]
        if ending:
            await asyncio.wait(ending, timeout=STOP_S)
        await asyncio.to_thread(ray.shutdown)
