"""From a search to a sandbox actor and back: least loaded first, retried elsewhere, never lost.

A call that fails because its actor died is made again on another one, for as long as it takes: the request is data and
a verdict has no side effects. A verdict that says "could not be made here" (`Reason.retryable`) is asked for once more,
elsewhere if there is an elsewhere, and then stands.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from ray.exceptions import RayActorError

from verifiers.base import Outcome, Verdict
from verifiers.checker import CheckRequest
from verifiers.majority import ConsensusRequest
from verifiers.shipping import shipped

_BACKOFF_S = (0.1, 0.3, 1.0, 3.0)


class VerifyClient:
    """One rollout actor's way to the sandbox actors."""

    def __init__(self, actors: list[Any]) -> None:
        self._actors = list(actors)
        self._waiting = [0] * len(self._actors)
        self._failing = [0] * len(self._actors)

    async def verify(self, request: CheckRequest) -> Verdict:
        request = replace(request, spec=shipped(request.spec))
        verdict, first = await self._ask("check", request, avoid=None)
        if verdict.outcome is Outcome.UNVERIFIABLE and verdict.reason.retryable:
            verdict, _ = await self._ask("check", request, avoid=first)
        return verdict

    async def agree(self, request: ConsensusRequest) -> dict[str, Verdict]:
        verdicts, _ = await self._ask("agree", request, avoid=None)
        return verdicts

    async def _ask(self, method: str, request: object, *, avoid: int | None) -> tuple[Any, int]:
        attempt = 0
        while True:
            index = self._pick(avoid)
            self._waiting[index] += 1
            try:
                answer = await getattr(self._actors[index], method).remote(request)
            except RayActorError:  # dead or restarting
                self._failing[index] += 1
                avoid = index
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1
                continue
            finally:
                self._waiting[index] -= 1
            self._failing[index] = 0
            return answer, index

    def _pick(self, avoid: int | None) -> int:
        """The actor with the fewest of our requests; one that has just failed only when there is no other."""
        candidates = [i for i in range(len(self._actors)) if i != avoid] or list(range(len(self._actors)))
        return min(candidates, key=lambda i: (self._failing[i] > 0, self._waiting[i], i))
