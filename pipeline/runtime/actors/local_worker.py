"""Runs leases in this process: the same engine, searches, verifiers and shards as on Ray, for tests and debugging.

start ─► engines, Checker, reward models ─► LocalWorkers (each a `Worker`, and the `SandboxSlots` of their checker)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rewards import Rewards
from berry.pipeline.core.balance import SlotBounds, slot_bounds
from berry.pipeline.core.placement import Placement
from berry.pipeline.engines.base import Engine
from berry.pipeline.engines.build import build, environment
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import EngineError
from berry.pipeline.garbage import freeze_what_is_loaded
from berry.pipeline.rewards.serving.service import RewardModels
from berry.pipeline.runtime.actors.process import of_process
from berry.pipeline.runtime.actors.weights import load_weights
from berry.pipeline.stages.checking.question import with_retry
from berry.pipeline.stages.leases.labelling import work_of
from berry.pipeline.stages.leases.lease import Lease, LeaseReport, Snapshot
from berry.pipeline.stages.rollout.admission import leases_at_once
from berry.pipeline.stages.rollout.engine_kind import join_run
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import Location
from berry.sandboxes.sessions import SessionKeeper
from berry.verifiers.checker import Checker
from berry.verifiers.sandbox_limits import behind_calls, pool_config


@dataclass(slots=True)
class LocalWorker:
    """A worker of a run in one process: one for each of its engines, which share everything else."""

    worker: LeaseWorker
    location: Location  # of the run, which names the weights
    leases_at_once: int
    checker: Checker
    sessions: SessionKeeper
    models: RewardModels | None = None
    slot_bounds: SlotBounds = field(default_factory=lambda: SlotBounds(1, 1))
    is_first: bool = True  # what all workers share is said once
    is_up: bool = True
    _aborted: asyncio.Future[str] | None = None  # with the reason

    @property
    def worker_id(self) -> str:
        return self.worker.worker_id

    @property
    def engine_name(self) -> str:
        return self.worker.engine_name

    @property
    def node(self) -> str:
        return self.worker.worker_id

    async def run_lease(self, lease: Lease) -> LeaseReport:
        if self._aborted is None:
            self._aborted = asyncio.get_running_loop().create_future()
        work = asyncio.ensure_future(self.worker.run(lease))
        try:
            await asyncio.wait((work, self._aborted), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise EngineError(f"{self._aborted.result()}; run again to resume")
            return work.result()
        finally:
            work.cancel()

    async def abort(self, why: str) -> None:
        if self._aborted is not None and not self._aborted.done():
            self._aborted.set_result(why)

    async def load_weights(self) -> list[str]:
        return await load_weights(self.worker, self.location, self.models)

    async def recover(self) -> None:
        raise EngineError("the engine in this process died; run again to resume")

    async def snapshot(self) -> Snapshot | None:
        if not self.is_first:
            return self.worker.snapshot()
        return of_process(self.worker.snapshot(), self.models, whole_host=True)

    async def check_counters(self) -> list[dict[str, float]]:
        calls = self.sessions.metrics() if self.worker.config.rollout.is_interactive else {}
        return [{**self.checker.metrics(), **calls}]

    def bounds(self) -> SlotBounds:
        return self.slot_bounds

    def size(self) -> int:
        return self.checker.pool.open_slots

    async def resize(self, slots: int) -> None:
        self.checker.pool.resize(slots)
        self.sessions.resize(slots)

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        return await self.worker.logprobs(prompt_ids, response_ids)


async def start(
    config: RunConfig, planned: Placement, location: Location, round_index: int
) -> tuple[list[LocalWorker], Callable[[], Awaitable[None]]]:
    """Loads engines, sandboxes and reward models here; returns a worker for each engine, and what stops all of it.
    Raises EngineError, ResourceError."""
    each_engine = config.each_started
    for alone in each_engine.values():
        for name, value in environment(alone.engine).items():
            os.environ.setdefault(name, value)
    bounds = slot_bounds(planned, fixed=config.cluster.ratio != "auto")
    verification = behind_calls(config.verification) if config.rollout.is_interactive else config.verification
    checker = Checker(verification.model_copy(update={"slots": bounds.most}))
    checker.pool.resize(planned.sandbox.total_slots)
    engines: dict[str, Engine] = {}
    for name, alone in each_engine.items():
        engines[name] = build(alone.engine_on_its_share(), engine_id=f"{name or 'local'}-0", name=name)
        await engines[name].start()
        await join_run(location, engines[name])
    freeze_what_is_loaded()
    await checker.start()
    pool = pool_config(config.verification)
    keeper = SessionKeeper(pool, slots=bounds.most, sessions=config.rollout.waiting_sessions)
    keeper.resize(planned.sandbox.total_slots)
    if config.rollout.is_interactive:
        await keeper.start()

    models: RewardModels | None = None
    if config.scored_by:
        models = RewardModels(
            config.rewards or Rewards(),
            config.rollout,
            {name: vocabulary.of_engine(alone.engine) for name, alone in config.each_generator.items()},
            gpu_share=config.reward_gpu_share,
        )
        await models.start()

    workers: list[LocalWorker] = []
    for name, engine in engines.items():
        its_config, its_location = work_of(config, location, name)
        scores = models is not None and bool(its_config.scored_by)
        worker = LeaseWorker(
            config=its_config,
            location=its_location,
            engine=engine,
            verify=with_retry(checker.check),
            agree=checker.agree,
            call=keeper.call,
            verify_here=checker.check_inline,
            scorer=models.of_engine(name) if models is not None and scores else None,
            worker_id=engine.info.engine_id,
            engine_name=name,
            round_index=round_index,
        )
        await load_weights(worker, location, models if scores else None)
        at_once = leases_at_once(config, name, engine.info.max_num_seqs)
        workers.append(LocalWorker(worker, location, at_once, checker, keeper, models, bounds, is_first=not workers))

    async def stop() -> None:
        for one in workers:
            await one.worker.close()
        await keeper.close()
        await checker.close()
        if models is not None:
            await models.close()

    return workers, stop
