"""Holds one engine and the searches on it in a Ray actor: a thin shell around what works without Ray.

    RayWorker ─► RolloutActor.run_lease ─► stages.rollout.LeaseWorker ─► shards
                     └─► VerifyClient ─► sandbox actors      └─► RewardClient ─► reward actors

An actor's state can be lost at any time: `start` may be called again, and brings a restarted actor up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterable
from functools import partial
from typing import Any

import ray

from berry.pipeline import logs
from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.build import build
from berry.pipeline.errors import EngineError, is_exhausted
from berry.pipeline.garbage import freeze_what_is_loaded
from berry.pipeline.rewards.serving.service import RewardModels, ScorerOfEngine
from berry.pipeline.runtime.actors import over_nodes
from berry.pipeline.runtime.actors.process import allow_many_files, of_process
from berry.pipeline.runtime.actors.reward_actor import reward_models
from berry.pipeline.runtime.actors.reward_client import RewardClient, RewardReplica
from berry.pipeline.runtime.actors.sandbox_client import SandboxEndpoint, VerifyClient
from berry.pipeline.runtime.actors.weights import load_weights
from berry.pipeline.runtime.monitoring import metrics, prometheus
from berry.pipeline.stages.leases.labelling import work_of
from berry.pipeline.stages.leases.lease import Lease, LeaseReport, Snapshot
from berry.pipeline.stages.rollout.engine_kind import join_run
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.verifiers.inline import check_inline

log = logging.getLogger(__name__)


class RolloutActor:
    """One engine and the searches on it."""

    def __init__(self, config: str, run_url: str, worker_id: str, round_index: int, engine: str = "") -> None:
        """`engine`: the one of `engines` that it holds; "" where the run has one."""
        logs.to_stderr()
        self._config = RunConfig.model_validate_json(config)
        self._location = locate(run_url)
        self._worker_id = worker_id
        self._round_index = round_index
        self._engine_name = engine
        self._worker: LeaseWorker | None = None
        self._verifying: VerifyClient | None = None
        self._scoring: RewardClient | None = None
        self._models: RewardModels | None = None
        self._exporter = prometheus.Exporter({"run": self._config.name, "engine": engine, "worker": worker_id})
        self._exporting: asyncio.Task[None] | None = None
        self._reports_so_far: LeaseReport | None = None

    async def start(self, sandboxes: list[SandboxEndpoint], rewards: list[RewardReplica] | None) -> dict[str, Any]:
        """Loads the engine; returns what it is. Verification goes to `sandboxes`, scoring to `rewards`; where a run has
        reward models and no reward actors (None), the models are loaded here. Raises EngineError, ResourceError."""
        if self._worker is None:
            allow_many_files()
            alone = self._config.on_engine(self._engine_name)
            nodes = alone.cluster.roles.rollout.nodes
            if nodes > 1:
                await over_nodes.until_all_parts_have_a_place()
                over_nodes.let_the_engine_find_ray()
            engine = build(alone.engine_on_its_share(), engine_id=self._worker_id, name=self._engine_name, nodes=nodes)
            await engine.start()
            await join_run(self._location, engine)
            freeze_what_is_loaded()
            client = self._verifying = VerifyClient(sandboxes, ray.get_runtime_context().get_node_id())
            its_config, its_location = work_of(self._config, self._location, self._engine_name)
            self._worker = LeaseWorker(
                config=its_config,
                location=its_location,
                engine=engine,
                verify=client.verify,
                agree=client.agree,
                call=client.call,
                verify_here=partial(check_inline, strictness=self._config.verification.strictness),
                scorer=await self._scorer(rewards) if its_config.scored_by else None,
                worker_id=self._worker_id,
                engine_name=self._engine_name,
                round_index=self._round_index,
            )
        await self.use(sandboxes, rewards)
        for problem in await self.load_weights():
            log.warning("%s: %s", self._worker_id, problem)
        info = self._worker.engine.info
        self._exporter.tags["model"] = info.model
        if self._exporting is None:
            self._exporting = prometheus.start(self._exporter, self._readings)
        return {
            "model": info.model,
            "synthetic": info.synthetic,
            "max_num_seqs": info.max_num_seqs,
            "home": (ray.get_runtime_context().get_node_id(), os.getpid()),
            "host": os.uname().nodename,
        } | info.versions

    async def use(self, sandboxes: list[SandboxEndpoint], rewards: list[RewardReplica] | None) -> None:
        """Sends checks and scores to these actors from now on; what others were asked already goes on."""
        if self._verifying is not None:
            self._verifying.update(sandboxes)
        if self._scoring is not None and rewards is not None:
            self._scoring.update(rewards)

    async def load_weights(self) -> list[str]:
        """Takes the weights and the round that weights.json names. Returns what could not be taken."""
        if self._worker is None:
            return []
        try:
            return await load_weights(self._worker, self._location, self._models)
        except EngineError:
            self._die()
            raise

    async def _scorer(self, rewards: list[RewardReplica] | None) -> RewardClient | ScorerOfEngine | None:
        if not self._config.scored_by:
            return None
        if rewards is not None:
            self._scoring = RewardClient(rewards, self._engine_name)
            return self._scoring
        self._models = await asyncio.to_thread(reward_models, self._config)
        await self._models.start()
        return self._models.of_engine(self._engine_name)

    async def run_lease(self, lease: Lease) -> LeaseReport:
        """Searches and commits a lease. Raises EngineError, StorageError."""
        if self._worker is None:
            raise EngineError(f"{self._worker_id} has been restarted and is not up yet")
        try:
            report = await self._worker.run(lease)
        except Exception as error:
            if isinstance(error, EngineError) or is_exhausted(error):
                self._die()
            raise
        readings, self._reports_so_far = metrics.of_report(report, self._reports_so_far)
        self._exporter.put(readings)
        return report

    def _readings(self) -> Iterable[metrics.MetricReading]:
        assert self._worker is not None
        self._exporter.tags["version"] = self._worker.engine.info.weights_version
        return metrics.of_snapshot(self._worker.snapshot())

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        """Computes the log-probabilities of a response anew (`LeaseWorker.logprobs`)."""
        if self._worker is None:
            raise EngineError(f"{self._worker_id} has been restarted and is not up yet")
        return await self._worker.logprobs(prompt_ids, response_ids)

    def _die(self) -> None:
        """Ends this process, so that Ray starts a fresh one: a dead engine core, or memory that is used up, leaves it
        alive and useless."""
        try:
            log.exception("engine of %s died", self._worker_id)
            sys.stderr.flush()
        finally:
            os._exit(1)

    def snapshot(self) -> Snapshot | None:
        """Figures of now; None before `start`."""
        return of_process(self._worker.snapshot(), self._models) if self._worker else None

    async def stop(self) -> None:
        if self._worker is not None:
            await self._worker.close()
        if self._models is not None:
            await self._models.close()


rollout_actor = ray.remote(RolloutActor)
