"""The actors: thin shells around what works without Ray.

    RolloutActor  engine + stages.leases.LeaseWorker; verification goes to sandbox actors
    SandboxActor  verifiers.checker.Checker

Every actor's state can be lost at any time. `start` is idempotent, so that a restarted actor is brought up by calling
it again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterable
from typing import Any

import ray

from pipeline import logs
from pipeline.config.run import RunConfig
from pipeline.engines.build import build
from pipeline.errors import EngineError, ResourceError, is_exhausted
from pipeline.rewards.scoring import RewardModels
from pipeline.runtime import exporting
from pipeline.runtime.cpu import tree_cpu_s, with_cpu
from pipeline.runtime.memory import collect_rarely
from pipeline.runtime.rewarding import RewardClient, reward_models
from pipeline.runtime.verification import Site, VerifyClient
from pipeline.runtime.weights import refresh_worker
from pipeline.stages import exported
from pipeline.stages.leases import Lease, LeaseReport, LeaseWorker, Snapshot
from pipeline.storage.files import locate
from sandboxes.base import SandboxError
from verifiers.base import Verdict
from verifiers.checker import Checker, CheckerConfig, CheckRequest
from verifiers.here import here
from verifiers.majority import ConsensusRequest

log = logging.getLogger(__name__)


class RolloutActor:
    """One engine and the searches on it."""

    def __init__(self, config: str, place: str, worker_id: str, round_index: int) -> None:
        logs.to_stderr()
        self._config = RunConfig.model_validate_json(config)
        self._location = locate(place)
        self._worker_id = worker_id
        self._round_index = round_index
        self._worker: LeaseWorker | None = None
        self._verifying: VerifyClient | None = None
        self._models: RewardModels | None = None
        self._exporter = exporting.Exporter({"run": self._config.name, "worker": worker_id})
        self._exporting: asyncio.Task[None] | None = None
        self._reported: LeaseReport | None = None

    async def start(self, sandboxes: list[Site], rewards: list[Any]) -> dict[str, Any]:
        """Loads the engine; returns what it is. Verification goes to `sandboxes`, scoring to `rewards`; where a run has
        reward models and no reward actors, the models are loaded here. Raises EngineError, ResourceError."""
        if self._worker is None:
            engine = build(self._config.engine, engine_id=self._worker_id)
            await engine.start()
            collect_rarely()
            client = self._verifying = VerifyClient(sandboxes, ray.get_runtime_context().get_node_id())
            self._worker = LeaseWorker(
                config=self._config,
                location=self._location,
                engine=engine,
                verify=client.verify,
                agree=client.agree,
                verify_here=here,
                scorer=await self._scorer(rewards),
                worker_id=self._worker_id,
                round_index=self._round_index,
            )
        await self.use_sandboxes(sandboxes)
        for wrong in await self.refresh():
            log.warning("%s: %s", self._worker_id, wrong)
        info = self._worker.engine.info
        if self._exporting is None:
            self._exporting = exporting.begin(self._exporter, self._readings)
        return {
            "model": info.model,
            "synthetic": info.synthetic,
            "max_num_seqs": info.max_num_seqs,
            "home": (ray.get_runtime_context().get_node_id(), os.getpid()),
        } | info.versions

    async def use_sandboxes(self, sandboxes: list[Site]) -> None:
        """Those that are up now; checks that others have been asked for go on."""
        if self._verifying is not None:
            self._verifying.update(sandboxes)

    async def refresh(self) -> list[str]:
        """Takes the weights and the round that serving.json names. Returns what could not be taken."""
        if self._worker is None:
            return []
        try:
            return await refresh_worker(self._worker, self._location, self._models)
        except EngineError:
            self._die()
            raise

    async def _scorer(self, rewards: list[Any]) -> RewardClient | RewardModels | None:
        if not self._config.scored_by:
            return None
        if rewards:
            return RewardClient(rewards)
        self._models = await asyncio.to_thread(reward_models, self._config)
        await self._models.start()
        return self._models

    async def run_lease(self, lease: Lease) -> LeaseReport:
        if self._worker is None:
            raise EngineError(f"{self._worker_id} has been restarted and is not up yet")
        try:
            report = await self._worker.run(lease)
        except Exception as error:
            if isinstance(error, EngineError) or is_exhausted(error):
                self._die()
            raise
        readings, self._reported = exported.of_report(report, self._reported)
        self._exporter.put(readings)
        return report

    def _readings(self) -> Iterable[exported.Reading]:
        assert self._worker is not None
        self._exporter.tags["version"] = self._worker.engine.info.weights_version
        return exported.of_snapshot(self._worker.snapshot())

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        """Computed anew, with the version of the weights that gave them."""
        if self._worker is None:
            raise EngineError(f"{self._worker_id} has been restarted and is not up yet")
        return await self._worker.logprobs(prompt_ids, response_ids)

    def _die(self) -> None:
        """A dead engine core, or memory that is used up, leaves this process alive and useless: end it, so that Ray
        starts a fresh one."""
        try:
            log.exception("engine of %s died", self._worker_id)
            sys.stderr.flush()
        finally:
            os._exit(1)

    def snapshot(self) -> Snapshot | None:
        return with_cpu(self._worker.snapshot()) if self._worker else None

    async def stop(self) -> None:
        if self._worker is not None:
            await self._worker.close()
        if self._models is not None:
            await self._models.close()


class SandboxActor:
    """A pool of sandboxes on this node's CPUs."""

    def __init__(self, config: CheckerConfig) -> None:
        logs.to_stderr()
        self._checker = Checker(config)
        self._started = False
        self._exporting: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """The Ray node that it is on. Raises ResourceError where this host can't confine programs."""
        if not self._started:
            try:
                await self._checker.start()
            except SandboxError as error:
                raise ResourceError(f"sandboxes can't start on {os.uname().nodename}: {error}") from error
            self._started = True
            read = self._checker.metrics
            self._exporting = exporting.begin(exporting.Exporter({}), lambda: exported.of_checker(read()))
        return ray.get_runtime_context().get_node_id()

    async def check(self, request: CheckRequest) -> Verdict:
        await self.start()
        return await self._checker.check(request)

    async def agree(self, request: ConsensusRequest) -> dict[str, Verdict]:
        await self.start()
        return await self._checker.agree(request)

    async def metrics(self) -> dict[str, float]:
        return {**self._checker.metrics(), "cpu_s": tree_cpu_s()} if self._started else {}

    async def stop(self) -> None:
        if self._exporting is not None:
            self._exporting.cancel()
        if self._started:
            await self._checker.close()
            self._started = False


rollout_actor = ray.remote(RolloutActor)
sandbox_actor = ray.remote(SandboxActor)
