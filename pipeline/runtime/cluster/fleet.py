"""Keeps the actors of one run while nodes come and go and the autoscaler asks for more sandboxes or fewer.

    placement ─► Fleet.start (what fits now is waited for; the rest is asked for and waits for its node)
    a node joins ─► its actors come up ─► endpoints to every worker, new workers to the coordinator
    a node leaves ─► its endpoints are taken out, its leases handed out again; Ray starts its actors where there is room
    resize ─► sandbox actors asked for, or emptied and then ended

Engines, sandboxes and reward actors alike. Where no reward actor fits at the start, each engine's process loads the
reward models itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.balance import SlotBounds, slot_bounds
from berry.pipeline.core.placement import Placement
from berry.pipeline.errors import EngineError, ResourceError
from berry.pipeline.runtime.actors.remote import reason
from berry.pipeline.runtime.actors.reward_actor import load_weights_on
from berry.pipeline.runtime.actors.reward_client import RewardReplica
from berry.pipeline.runtime.actors.rollout_handle import RayWorker
from berry.pipeline.runtime.cluster import connect, placement
from berry.pipeline.runtime.cluster.actor_pool import ActorPool, until_up
from berry.pipeline.runtime.cluster.sandbox_pool import SandboxActors
from berry.pipeline.runtime.monitoring.running_totals import RunningTotals
from berry.pipeline.runtime.monitoring.stalls import activity_of_rewards
from berry.pipeline.runtime.worker import Worker
from berry.pipeline.stages.rollout.admission import leases_at_once
from berry.pipeline.tasks import end_tasks

RAY_POLL_S = 1.0  # between two looks at Ray's own process
SHUTDOWN_S = 30.0  # for which Ray may take to end
STOP_S = 10.0  # for which sandbox and reward actors may take to end


class Fleet:
    """The rollout, sandbox and reward actors of a run. `workers` are the engines that are up: a list that others may
    hold, which grows when more come up."""

    def __init__(
        self,
        config: RunConfig,
        planned: Placement,
        *,
        run_url: str,
        round_index: int,
        note: Callable[[str], None],
        owns_ray: bool = False,
    ) -> None:
        """`owns_ray`: Ray was started for this run, and the run ends with it."""
        self._config = config
        self._planned = planned
        self._run_url = run_url
        self._round = round_index
        self._note = note
        self._starting: list[asyncio.Task[None]] = []  # engines that are asked for and not up yet
        self._groups: list[Any] = []
        self._join: Callable[[Worker], None] = lambda _: None
        self.workers: list[Worker] = []
        self._scored = RunningTotals()
        self.rewards = ActorPool(
            "reward",
            lambda: placement.reward(config, planned, run_url=run_url),
            self._send_actors,
            figures=lambda actor: actor.counters.remote(),
            activity=activity_of_rewards,
            took=self._take_scores,
            stall_s=config.storage.stall_s,
            note=note,
        )
        self.sandboxes = SandboxActors(
            lambda: placement.sandbox(config, planned),
            planned.sandbox.slots,
            self._send_actors,
            stall_s=config.storage.stall_s,
            note=note,
        )
        self.models: dict[str, str] = {}  # by engine
        self._raylet = connect.raylet_started_here() if owns_ray else None

    async def start(self, now: Placement) -> None:
        """Starts the actors of `now`, the part of the layout that fits; asks for the others. Raises EngineError,
        ResourceError."""
        first = [self._new_worker(name, n) for name, role in now.engines.items() for n in range(role.actors)]
        await asyncio.gather(*(group.ready() for group in self._groups))  # before fractions of GPUs are taken
        rewards = self.rewards.ask_for(now.reward.actors if self._config.scored_by else 0, patient=False)
        sandboxes = self.sandboxes.pool.ask_for(now.sandbox.actors, patient=False)
        await asyncio.gather(*rewards)
        infos, _ = await asyncio.gather(
            asyncio.gather(*(self._start_first(worker) for worker in first)), asyncio.gather(*sandboxes)
        )
        for worker, info in zip(first, infos, strict=True):
            self._add(worker, info)
        await self._send_actors()
        self._ask_for_the_rest(now)

    async def _start_first(self, worker: RayWorker) -> dict[str, Any]:
        try:
            return await worker.start()
        except RayActorError as error:
            raise EngineError(
                f"{worker.worker_id} ended while it loaded its engine ({reason(error)}); if it was killed for memory, "
                "give it less (engine.max_num_seqs, engine.kv_cache_gib, fewer sandbox slots) or a larger node"
            ) from None

    def _ask_for_the_rest(self, now: Placement) -> None:
        for engine, role in self._planned.engines.items():
            for n in range(now.engines[engine].actors, role.actors):
                self._starting.append(asyncio.create_task(self._until_up(self._new_worker(engine, n))))
        self.sandboxes.pool.ask_for(self._planned.sandbox.actors - now.sandbox.actors)
        if self.rewards.actors:
            self.rewards.ask_for(self._planned.reward.actors - now.reward.actors)
        planned = self._planned
        roles = [("engines", now.rollout, planned.rollout), ("sandbox actors", now.sandbox, planned.sandbox)]
        roles += [("reward actors", now.reward, planned.reward)] if self.rewards.actors else []
        if any(there.actors < wanted.actors for _, there, wanted in roles):
            listed = ", ".join(f"{there.actors} of {wanted.actors} {name}" for name, there, wanted in roles)
            self._note(f"{listed} fit the nodes that are there; the others start when nodes join")

    def _new_worker(self, engine: str, number: int) -> RayWorker:
        name = f"{engine or 'rollout'}-{number}"
        role = self._planned.engines[engine]
        actor, group = placement.rollout(
            self._config, role, run_url=self._run_url, worker_id=name, round_index=self._round
        )
        if group is not None:
            self._groups.append(group)
        is_needed = partial(self._none_is_up, engine)
        return RayWorker(actor, name, 1, self.sandboxes, self._replicas, is_needed=is_needed, engine_name=engine)

    def _replicas(self) -> list[RewardReplica] | None:
        if not self.rewards.actors:
            return None
        return [RewardReplica(one.name, one.actor) for one in self.rewards.up()]

    async def load_reward_weights(self) -> list[str]:
        """Has the reward actors that are up take the weights that serve now, as others do when they start; returns what
        could not be taken, in words."""
        return await load_weights_on([one.actor for one in self.rewards.up()])

    def _none_is_up(self, engine: str) -> bool:
        return not any(w.is_up for w in self.workers if isinstance(w, RayWorker) and w.engine_name == engine)

    def _add(self, worker: RayWorker, info: dict[str, Any]) -> None:
        self.models.setdefault(worker.engine_name, info["model"])
        worker.leases_at_once = leases_at_once(self._config, worker.engine_name, info["max_num_seqs"])
        self.workers.append(worker)

    async def _until_up(self, worker: RayWorker) -> None:
        self._add(worker, await until_up(worker.worker_id, worker.start, patient=True))
        self._note(f"{worker.worker_id} came up: {len(self.workers)} engines")
        self._join(worker)

    async def _send_actors(self) -> None:
        """Tells every engine which sandbox and reward actors are up."""
        await asyncio.gather(*(w.send_actors() for w in self.workers if isinstance(w, RayWorker)))

    async def watch(self, join: Callable[[Worker], None]) -> None:
        """Has lost actors started again, and gives the coordinator the engines that come up, until cancelled."""
        self._join = join
        watches = self.sandboxes.pool.watch(), self.rewards.watch(), self._watch_ray()
        tasks = [asyncio.create_task(watch) for watch in watches]
        try:
            await asyncio.gather(*tasks)
        finally:
            self._join = lambda _: None
            await end_tasks(tasks)  # one that asked an actor after Ray is left has Ray end the process, without a word

    async def _watch_ray(self) -> None:
        """Raises ResourceError when the Ray that was started here ends; nothing would say so otherwise."""
        while self._raylet is not None and not connect.has_ended(self._raylet):
            await asyncio.sleep(RAY_POLL_S)
        if self._raylet is not None:
            raise ResourceError(
                "the Ray that was started for this run has ended (its raylet process is gone, perhaps killed for "
                "memory); what was in flight is journalled: run the same command again to go on"
            )

    def losses(self) -> dict[str, int]:
        """Sandbox and reward actors that were lost or ended because they hung, by kind."""
        return {"sandbox actors": self.sandboxes.pool.losses, "reward actors": self.rewards.losses}

    def _take_scores(self, name: str, figures: dict[str, dict[str, int]]) -> None:
        self._scored.add(name, {model: counts["computed_tokens"] for model, counts in figures.items()})

    def scored_tokens(self) -> dict[str, int]:
        """Tokens that the models of reward actors have read so far, by model, as of their last answers."""
        return self._scored.total()

    # ---- the sandbox slots ------------------------------------------------------------------------------------------

    def bounds(self) -> SlotBounds:
        return slot_bounds(self._planned, fixed=self._config.cluster.ratio != "auto")

    def size(self) -> int:
        return self.sandboxes.asked_for * self._planned.sandbox.slots

    async def resize(self, slots: int) -> None:
        await self.sandboxes.resize(slots // self._planned.sandbox.slots)

    def abandon(self) -> None:
        """Stops waiting for actors that are not up yet."""
        for task in self._starting:
            task.cancel()
        self.sandboxes.abandon()
        self.rewards.abandon()

    async def stop(self) -> None:
        """Ends every actor, and leaves the Ray cluster."""
        self.abandon()
        await asyncio.gather(*(w.stop() for w in self.workers if isinstance(w, RayWorker)))
        ending = [asyncio.ensure_future(one.actor.stop.remote()) for one in self.rewards.up()]
        ending += [asyncio.ensure_future(one.actor.stop.remote()) for one in self.sandboxes.up()]
        if ending:
            await asyncio.wait(ending, timeout=STOP_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(ray.shutdown), SHUTDOWN_S)
