"""The actors of one run, while nodes come and go and the balance asks for more sandboxes or fewer.

    placing ─► Fleet.begin (what fits now is waited for; the rest is asked for and waits for its node)
    a node joins ─► its actors come up ─► sites to every worker, new workers to the coordinator
    a node leaves ─► its sites are taken out, its leases handed out again; Ray starts its actors where there is room
    resize ─► sandbox actors asked for, or emptied and then ended

Reward actors are those that fit at the start.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError

from pipeline.config.layout import Layout
from pipeline.config.run import RunConfig
from pipeline.core.balance import Bounds
from pipeline.errors import BerryError
from pipeline.runtime import placing
from pipeline.runtime.coordinator import Worker
from pipeline.runtime.local import slot_bounds
from pipeline.runtime.sandbox_sites import SandboxSites
from pipeline.runtime.workers import RayWorker, expected
from pipeline.stages.leases import searches_at_once

STOP_S = 10.0
log = logging.getLogger(__name__)


class Fleet:
    """`workers` are those that are up, in a list that others may hold on to; it grows when engines come up."""

    def __init__(
        self, config: RunConfig, planned: Layout, *, place: str, round_index: int, note: Callable[[str], None]
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
        self.rewards: list[Any] = []
        self.sandboxes = SandboxSites(lambda: placing.sandbox(config, planned), planned.sandbox.slots, self._tell)
        self.model = ""

    async def begin(self, now: Layout) -> None:
        """Raises EngineError, ResourceError."""
        first = [self._new_worker(n) for n in range(now.rollout.actors)]
        await asyncio.gather(*(group.ready() for group in self._groups))  # before fractions of GPUs are taken
        if self._config.scored_by:
            self.rewards.extend(
                placing.reward(self._config, self._planned, place=self._place) for _ in range(now.reward.actors)
            )
        sandboxes = self.sandboxes.ask_for(now.sandbox.actors)
        await asyncio.gather(*(expected(actor.start.remote()) for actor in self.rewards))
        infos, _ = await asyncio.gather(
            asyncio.gather(*(worker.start() for worker in first)), asyncio.gather(*sandboxes)
        )
        for worker, info in zip(first, infos, strict=True):
            self._is_up(worker, info)
        await self._tell()
        self._ask_for_the_rest(now)

    def _ask_for_the_rest(self, now: Layout) -> None:
        for n in range(now.rollout.actors, self._planned.rollout.actors):
            self._coming.append(asyncio.create_task(self._come_up(self._new_worker(n))))
        self.sandboxes.ask_for(self._planned.sandbox.actors - now.sandbox.actors)
        if self._coming or now.sandbox.actors < self._planned.sandbox.actors:
            self._note(
                f"{now.rollout.actors} of {self._planned.rollout.actors} engines and {now.sandbox.actors} of "
                f"{self._planned.sandbox.actors} sandbox actors fit the nodes that are there; the others start when "
                "nodes join"
            )

    def _new_worker(self, number: int) -> RayWorker:
        name = f"rollout-{number}"
        actor, group = placing.rollout(
            self._config, self._planned, place=self._place, worker_id=name, round_index=self._round
        )
        if group is not None:
            self._groups.append(group)
        return RayWorker(actor, name, 1, self.sandboxes, self.rewards, needed=self._none_up)

    def _none_up(self) -> bool:
        return not any(w.is_up for w in self.workers if isinstance(w, RayWorker))

    def _is_up(self, worker: RayWorker, info: dict[str, Any]) -> None:
        self.model = info["model"]
        searches = searches_at_once(self._config.rollout, info["max_num_seqs"])
        worker.leases_at_once = math.ceil(searches / self._config.storage.lease_problems) + 1
        self.workers.append(worker)

    async def _come_up(self, worker: RayWorker) -> None:
        """Until there is a node for it, however long that takes."""
        while True:
            try:
                info = await worker.start()
            except (RayActorError, BerryError) as error:
                log.warning("%s is not up yet: %s", worker.worker_id, error)
                await asyncio.sleep(1.0)
                continue
            self._is_up(worker, info)
            self._note(f"{worker.worker_id} came up: {len(self.workers)} engines")
            self._join(worker)
            return

    async def _tell(self) -> None:
        """Every engine which sandboxes are up."""
        sites = self.sandboxes.up()
        workers = [w for w in self.workers if isinstance(w, RayWorker)]
        await asyncio.gather(*(w.use_sandboxes(sites) for w in workers))

    async def watch(self, join: Callable[[Worker], None]) -> None:
        """Beside a coordinator, which gets the engines that come up."""
        self._join = join
        try:
            await self.sandboxes.watch()
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

    async def stop(self) -> None:
        self.abandon()
        await asyncio.gather(*(w.stop() for w in self.workers if isinstance(w, RayWorker)))
        ending = [asyncio.ensure_future(actor.stop.remote()) for actor in self.rewards]
        ending += [asyncio.ensure_future(site.actor.stop.remote()) for site in self.sandboxes.up()]
        if ending:
            await asyncio.wait(ending, timeout=STOP_S)
        await asyncio.to_thread(ray.shutdown)
