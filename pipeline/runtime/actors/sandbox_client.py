"""From a search to a sandbox actor and back: the nearest that has room, retried elsewhere, never lost.

Actors on this node come first; when as many of our checks are there as they have slots, the least loaded anywhere. A
call that fails because its actor died is made again on another one, for as long as it takes: the request is data and
a verdict has no side effects. A verdict that says "could not be made here" (`Reason.retryable`) is asked for once more,
elsewhere if there is an elsewhere, and then stands. Actors come and go while a run goes on (`update`); what one that
goes was asked for already is still its to answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from ray.exceptions import RayActorError

from berry.verifiers.base import Outcome, Verdict
from berry.verifiers.checker import CheckRequest
from berry.verifiers.kinds.majority import ConsensusRequest
from berry.verifiers.specs.shipping import with_source_inlined

_BACKOFF_S = (0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True, slots=True)
class SandboxEndpoint:
    """A sandbox actor, its slots, and the Ray node it is on."""

    name: str
    actor: Any
    slots: int
    node: str = ""


@dataclass(slots=True)
class EndpointLoad:
    """Our side of a site: requests there now, failures since the last answer."""

    site: SandboxEndpoint
    waiting: int = 0
    failing: int = 0


class VerifyClient:
    """One rollout actor's way to the sandbox actors. `here`: the Ray node it is on itself."""

    def __init__(self, sites: Sequence[SandboxEndpoint], here: str = "") -> None:
        self._here = here
        self._desks: dict[str, EndpointLoad] = {}
        self._any = asyncio.Event()
        self.update(sites)

    def update(self, sites: Sequence[SandboxEndpoint]) -> None:
        """From now on these; all of them are up."""
        before = self._desks
        self._desks = {s.name: EndpointLoad(s, before[s.name].waiting if s.name in before else 0) for s in sites}
        if self._desks:
            self._any.set()
        else:
            self._any.clear()

    async def verify(self, request: CheckRequest) -> Verdict:
        request = replace(request, spec=with_source_inlined(request.spec))
        verdict, first = await self._ask("check", request, avoid=None)
        if verdict.outcome is Outcome.UNVERIFIABLE and verdict.reason.retryable:
            verdict, _ = await self._ask("check", request, avoid=first)
        return verdict

    async def agree(self, request: ConsensusRequest) -> dict[str, Verdict]:
        verdicts, _ = await self._ask("agree", request, avoid=None)
        return verdicts

    async def _ask(self, method: str, request: object, *, avoid: str | None) -> tuple[Any, str]:
        attempt = 0
        while True:
            await self._any.wait()
            desk = self._pick(avoid)
            name = desk.site.name
            desk.waiting += 1
            try:
                answer = await getattr(desk.site.actor, method).remote(request)
            except RayActorError:  # dead or restarting
                desk.failing += 1
                avoid = name
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1
                continue
            finally:
                now = self._desks.get(name, desk)  # another desk when there was an update meanwhile
                now.waiting = max(0, now.waiting - 1)
            now.failing = 0
            return answer, name

    def _pick(self, avoid: str | None) -> EndpointLoad:
        """One that has just failed only when there is no other; one on another node when those here are full."""
        candidates = [d for n, d in self._desks.items() if n != avoid] or list(self._desks.values())

        def order(desk: EndpointLoad) -> tuple[bool, bool, bool, float, str]:
            full = desk.waiting >= desk.site.slots
            far = not full and desk.site.node != self._here
            return desk.failing > 0, full, far, desk.waiting / desk.site.slots, desk.site.name

        return min(candidates, key=order)
