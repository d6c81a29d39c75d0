"""Reward models on Ray: actors that hold them, and a rollout actor's way there.

    search ─► RewardClient.score ─► the replica of this problem ─► RewardActor ─► rewards.scoring.RewardModels

All requests of a problem go to the same replica, chosen by its prompt, since that one has kept the prefixes; while it
is down, to the next. Replicas come and go while a run goes on, and only the problems of those that do change theirs
(rendezvous hashing). A request is data and a score has no side effects: it is made again for as long as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import ray
from ray.exceptions import RayActorError

from pipeline.config.rewards import Rewards
from pipeline.config.run import RunConfig
from pipeline.engines import vocabulary
from pipeline.errors import ConfigError
from pipeline.rewards.scoring import RewardModels
from pipeline.runtime import exporting
from pipeline.runtime.weights import refresh_models
from pipeline.runtime.workers import expected
from pipeline.stages import exported
from pipeline.storage import serving
from pipeline.storage.files import locate

_BACKOFF_S = (0.1, 0.3, 1.0, 3.0)
_SCATTER, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def reward_models(config: RunConfig) -> RewardModels:
    """The models that a run's configuration names; not started. Raises ConfigError."""
    if not config.scored_by:
        raise ConfigError("neither rewards nor rounds.train names a reward model to serve")
    return RewardModels(config.rewards or Rewards(), config.rollout, vocabulary.of_engine(config.engine))


class RewardActor:
    """A replica of every reward model of the run. `start` is idempotent: a restarted actor is brought up by it."""

    def __init__(self, config: str, place: str) -> None:
        self._config = RunConfig.model_validate_json(config)
        self._location = locate(place)
        self._models: RewardModels | None = None
        self._starting = asyncio.Lock()
        self._exporting: asyncio.Task[None] | None = None

    async def start(self) -> dict[str, str]:
        """Loads the models; returns their weights' versions. Raises ConfigError, EngineError, ResourceError."""
        async with self._starting:
            if self._models is None:
                models = await asyncio.to_thread(reward_models, self._config)
                await models.start()
                self._models = models
                await self.refresh()
                counts = models.counts
                self._exporting = exporting.begin(
                    exporting.Exporter({}),
                    lambda: exported.of_rewards({name: asdict(c) for name, c in counts().items()}),
                )
        return self._models.versions()

    async def score(
        self, model: str, prompt_ids: bytes, response_ids: bytes, logprob: float | None = None
    ) -> tuple[float, str]:
        """Ids as packed 32-bit integers: a list of numbers costs Ray more than the score."""
        if self._models is None:
            await self.start()
        assert self._models is not None
        return await self._models.score_with_version(
            model=model, prompt_ids=array("i", prompt_ids), response_ids=array("i", response_ids), logprob=logprob
        )

    async def refresh(self) -> list[str]:
        """Takes the weights that serving.json names, between two batches. Returns what could not be taken."""
        if self._models is None:
            return []
        now = await asyncio.to_thread(serving.read, self._location)
        return await refresh_models(self._models, self._location, now)

    async def counters(self) -> dict[str, dict[str, int]]:
        return {} if self._models is None else {name: asdict(c) for name, c in self._models.counts().items()}

    async def stop(self) -> None:
        if self._exporting is not None:
            self._exporting.cancel()
        if self._models is not None:
            await self._models.close()


@dataclass(frozen=True, slots=True)
class Replica:
    """A reward actor."""

    name: str
    actor: Any


class RewardClient:
    """`stages.ports.Scorer` over reward actors."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self._versions: dict[str, str] = {}
        self._any = asyncio.Event()
        self.update(replicas)

    def update(self, replicas: Sequence[Replica]) -> None:
        """From now on these; all of them are up."""
        self._replicas = [(_number(replica.name.encode()), replica.actor) for replica in replicas]
        if self._replicas:
            self._any.set()
        else:
            self._any.clear()

    async def score(
        self, *, model: str, prompt_ids: Sequence[int], response_ids: Sequence[int], logprob: float | None = None
    ) -> float:
        """Raises EngineError for what no replica can score."""
        prompt, response = array("i", prompt_ids).tobytes(), array("i", response_ids).tobytes()
        problem, attempt = _number(prompt), 0
        while True:
            await self._any.wait()
            ranked = sorted(self._replicas, key=lambda one: (one[0] ^ problem) * _SCATTER & _MASK)
            _, actor = ranked[attempt % len(ranked)]
            try:
                value, version = await expected(actor.score.remote(model, prompt, response, logprob))
            except RayActorError:  # dead or restarting
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1
                continue
            self._versions[model] = version
            return value

    def versions(self) -> Mapping[str, str]:
        """Of the weights that gave the last score of each model."""
        return dict(self._versions)


def _number(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


async def refresh_all(actors: Sequence[Any]) -> list[str]:
    """Every replica takes the weights that serving.json names. Returns what went wrong where; a replica that died takes
    them when it is up again."""
    wrong: list[str] = []
    answers = await asyncio.gather(*(expected(a.refresh.remote()) for a in actors), return_exceptions=True)
    for index, answer in enumerate(answers):
        if isinstance(answer, BaseException):
            wrong.append(f"reward actor {index}: {answer}")
        else:
            wrong.extend(f"reward actor {index}: {text}" for text in answer)
    return wrong


async def total_counters(actors: Sequence[Any]) -> dict[str, dict[str, int]]:
    """Of all replicas together; those that do not answer are left out."""
    totals: dict[str, dict[str, int]] = {}
    for actor in actors:
        with contextlib.suppress(RayActorError, TimeoutError):
            for name, counts in (await asyncio.wait_for(actor.counters.remote(), 5)).items():
                mine = totals.setdefault(name, {})
                for key, value in counts.items():
                    mine[key] = mine.get(key, 0) + value
    return totals


reward_actor = ray.remote(RewardActor)
