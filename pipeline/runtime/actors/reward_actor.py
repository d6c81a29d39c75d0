"""Holds the reward models of a run in Ray actors, every actor a replica of all of them.

RewardClient.score ─► RewardActor.score ─► rewards.serving.RewardModels
"""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rewards import Rewards
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import ConfigError
from berry.pipeline.garbage import collect_garbage_rarely
from berry.pipeline.rewards.serving.service import RewardModels
from berry.pipeline.runtime.actors.process import Home, allow_many_files
from berry.pipeline.runtime.actors.remote import expected
from berry.pipeline.runtime.actors.weights import load_reward_weights
from berry.pipeline.runtime.monitoring import metrics, prometheus
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.weights_file import read_weights


def reward_models(config: RunConfig) -> RewardModels:
    """The models that a run's configuration names; not started. Raises ConfigError."""
    if not config.scored_by:
        raise ConfigError("neither rewards nor rounds.train names a reward model to serve")
    return RewardModels(
        config.rewards or Rewards(),
        config.rollout,
        {name: vocabulary.of_engine(alone.engine) for name, alone in config.each_generator.items()},
        gpu_share=config.reward_gpu_share,
    )


class RewardActor:
    """A replica of every reward model of a run. `start` may be called again: it brings a restarted actor up."""

    def __init__(self, config: str, run_url: str) -> None:
        self._config = RunConfig.model_validate_json(config)
        self._location = locate(run_url)
        self._models: RewardModels | None = None
        self._starting = asyncio.Lock()
        self._exporting: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, str]:
        """Loads the models; returns their weights' versions. Raises ConfigError, EngineError, ResourceError."""
        async with self._starting:
            if self._models is None:
                allow_many_files()
                collect_garbage_rarely()
                models = await asyncio.to_thread(reward_models, self._config)
                await models.start()
                self._models = models
                await self.load_weights()
                counts = models.counts
                self._exporting = prometheus.start(
                    prometheus.Exporter({}),
                    lambda: metrics.of_rewards({name: asdict(c) for name, c in counts().items()}),
                )
        return self._models.versions()

    def home(self) -> Home:
        return ray.get_runtime_context().get_node_id(), os.getpid()

    async def score(
        self, model: str, prompt_ids: bytes, response_ids: bytes, logprob: float | None = None, engine: str = ""
    ) -> tuple[float, str]:
        """The value of a response in [0, 1], and the version of the weights that gave it; `engine`: whose, of several.
        Token ids come as packed
        32-bit integers: a list of numbers costs Ray more than the score."""
        if self._models is None:
            await self.start()
        assert self._models is not None
        return await self._models.score_with_version(
            model=model,
            prompt_ids=array("i", prompt_ids),
            response_ids=array("i", response_ids),
            logprob=logprob,
            engine=engine,
        )

    async def load_weights(self) -> list[str]:
        """Takes the weights that weights.json names, between two batches. Returns what could not be taken."""
        if self._models is None:
            return []
        now = await asyncio.to_thread(read_weights, self._location)
        return await load_reward_weights(self._models, self._location, now)

    async def counters(self) -> dict[str, dict[str, int]]:
        """Counts of every model since it was loaded; empty before `start`."""
        return {} if self._models is None else {name: asdict(c) for name, c in self._models.counts().items()}

    async def stop(self) -> None:
        if self._exporting is not None:
            self._exporting.cancel()
        if self._models is not None:
            await self._models.close()


async def load_weights_on(actors: Sequence[Any]) -> list[str]:
    """Has every replica take the weights that weights.json names; returns what could not be taken, in words. A replica
    that died takes them when it is up again."""
    problems: list[str] = []
    answers = await asyncio.gather(*(expected(a.load_weights.remote()) for a in actors), return_exceptions=True)
    for index, answer in enumerate(answers):
        if isinstance(answer, BaseException):
            problems.append(f"reward actor {index}: {answer}")
        else:
            problems.extend(f"reward actor {index}: {text}" for text in answer)
    return problems


reward_actor = ray.remote(RewardActor)
