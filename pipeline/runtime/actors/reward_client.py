"""Sends the scores that a search asks for to a reward actor, the same one for all prefixes of a problem.

    search ─► RewardClient.score ─► the replica of this problem ─► RewardActor.score

The replica is chosen by the prompt, since it has kept the prefixes; while it is down, the next one answers. Replicas
come and go while a run goes on, and only the problems of those that do change theirs (rendezvous hashing, Thaler and
Ravishankar 1998). A request is data and a score has no side effects: it is made again for as long as it takes.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from ray.exceptions import RayActorError

from berry.pipeline.runtime.actors.remote import expected

_BACKOFF_S = (0.1, 0.3, 1.0, 3.0)  # before a request is made again
_SCATTER, _MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1  # Fibonacci hashing of 64 bits


@dataclass(frozen=True, slots=True)
class RewardReplica:
    """One reward actor, as clients see it."""

    name: str
    actor: Any


class RewardClient:
    """A `stages.rollout.commands.ports.Scorer` over reward actors."""

    def __init__(self, replicas: Sequence[RewardReplica], engine: str = "") -> None:
        """`engine`: the one of several whose responses are scored."""
        self._engine = engine
        self._versions: dict[str, str] = {}
        self._any = asyncio.Event()
        self.update(replicas)

    def update(self, replicas: Sequence[RewardReplica]) -> None:
        """Sends requests to these replicas from now on; all of them are up."""
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
                value, version = await expected(actor.score.remote(model, prompt, response, logprob, self._engine))
            except RayActorError:  # dead or restarting
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1
                continue
            self._versions[model] = version
            return value

    def versions(self) -> Mapping[str, str]:
        """The version of the weights that gave the last score of each model."""
        return dict(self._versions)


def _number(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
