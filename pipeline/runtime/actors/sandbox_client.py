"""Sends the checks and tool calls of a rollout actor to sandbox actors: the nearest that has room, again elsewhere when
one dies.

    search ─► VerifyClient.verify ─► the least loaded endpoint ─► SandboxActor.check ─► Verdict

Actors on this node come first; when as many of our checks are there as they have slots, the least loaded anywhere. A
call that fails because its actor died is made again on another one, for as long as it takes: the request is data and
a verdict has no side effects. A verdict that says "could not be made here" (`Reason.retryable`) is asked for once more,
elsewhere if there is an elsewhere, and then stands. Actors come and go while a run goes on (`update`); what one that
goes was asked for already is still its to answer. A tool call goes where the session of its path is, if that actor is
still up; another one rebuilds the session.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace
from ray.exceptions import RayActorError

from berry.sandboxes.sessions import SessionCall, SessionReply
from berry.verifiers.base import Outcome, Verdict
from berry.verifiers.checker import CheckRequest
from berry.verifiers.kinds.majority import ConsensusRequest
from berry.verifiers.specs.shipping import with_source_inlined

_HOMES_KEPT = 65_536  # paths of calls of which it is known where their session is
_BACKOFF_S = (0.1, 0.3, 1.0, 3.0)  # before a check is asked for again


@dataclass(frozen=True, slots=True)
class SandboxEndpoint:
    """A sandbox actor, its slots, and the Ray node it is on."""

    name: str
    actor: Any
    slots: int
    node: str = ""


@dataclass(slots=True)
class EndpointLoad:
    """An endpoint with our requests that it has not answered, and its failures since its last answer."""

    endpoint: SandboxEndpoint
    waiting: int = 0
    failures: int = 0


class VerifyClient:
    """Chooses a sandbox actor for every check. `own_node`: the Ray node that the client is on."""

    def __init__(self, endpoints: Sequence[SandboxEndpoint], own_node: str = "") -> None:
        self._own_node = own_node
        self._homes: OrderedDict[str, str] = OrderedDict()  # path of calls ─► the endpoint that has its session
        self._loads: dict[str, EndpointLoad] = {}
        self._any = asyncio.Event()
        self.update(endpoints)

    def update(self, endpoints: Sequence[SandboxEndpoint]) -> None:
        """Sends checks to these endpoints from now on; all of them are up."""
        before = self._loads
        self._loads = {e.name: EndpointLoad(e, before[e.name].waiting if e.name in before else 0) for e in endpoints}
        if self._loads:
            self._any.set()
        else:
            self._any.clear()

    async def verify(self, request: CheckRequest) -> Verdict:
        """The verdict on one response, however often its actor dies."""
        request = replace(request, spec=with_source_inlined(request.spec))
        verdict, first = await self._ask("check", request, avoid=None)
        if verdict.outcome is Outcome.UNVERIFIABLE and verdict.reason.retryable:
            verdict, _ = await self._ask("check", request, avoid=first)
        return verdict

    async def agree(self, request: ConsensusRequest) -> dict[str, Verdict]:
        """Verdicts on all responses of a problem together, by majority."""
        verdicts, _ = await self._ask("agree", request, avoid=None)
        return verdicts

    async def call(self, request: SessionCall) -> SessionReply:
        """What a tool call says, however often its actor dies."""
        home = self._homes.pop(request.key, None)
        reply, name = await self._ask("call", request, avoid=None, home=home)
        if reply.failed:
            reply, name = await self._ask("call", request, avoid=name)
        if not reply.ended:
            self._homes[request.next_key] = name
            if len(self._homes) > _HOMES_KEPT:
                self._homes.popitem(last=False)
        return reply

    async def _ask(
        self, method: str, request: object, *, avoid: str | None, home: str | None = None
    ) -> tuple[Any, str]:
        attempt = 0
        while True:
            await self._any.wait()
            load = self._loads[home] if attempt == 0 and home in self._loads else self._pick(avoid)
            name = load.endpoint.name
            load.waiting += 1
            try:
                answer = await getattr(load.endpoint.actor, method).remote(request)
            except RayActorError:  # dead or restarting
                load.failures += 1
                avoid = name
                await asyncio.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1
                continue
            finally:
                latest = self._loads.get(name, load)  # another object when there was an update meanwhile
                latest.waiting = max(0, latest.waiting - 1)
            latest.failures = 0
            return answer, name

    def _pick(self, avoid: str | None) -> EndpointLoad:
        """The endpoint to ask next: one that has just failed only when there is no other, one on another node when
        those on this one are full."""
        candidates = [load for name, load in self._loads.items() if name != avoid] or list(self._loads.values())

        def order(load: EndpointLoad) -> tuple[bool, bool, bool, float, str]:
            endpoint = load.endpoint
            is_full = load.waiting >= endpoint.slots
            is_far = not is_full and endpoint.node != self._own_node
            return load.failures > 0, is_full, is_far, load.waiting / endpoint.slots, endpoint.name

        return min(candidates, key=order)
