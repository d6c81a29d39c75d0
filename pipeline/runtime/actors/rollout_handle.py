"""Makes a rollout actor a `Worker` of the coordinator: calls it, waits for its return, ends it when it hangs.

Coordinator ─► RayWorker.run_lease ─► RolloutActor.run_lease ─► LeaseReport      WorkerLost when the actor dies
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from ray.exceptions import RayActorError

from berry.pipeline.errors import EngineError, ResourceError
from berry.pipeline.runtime.actors.process import Home
from berry.pipeline.runtime.actors.remote import end_process, expected, reason
from berry.pipeline.runtime.actors.sandbox_client import SandboxEndpoint
from berry.pipeline.runtime.worker import WorkerLost
from berry.pipeline.stages.leases.lease import Lease, LeaseReport, Snapshot
from berry.pipeline.stages.leases.partition import for_another_host

ANSWER_S = 5.0  # for which a figure is waited for
STOP_S = 20.0  # for which its orderly end is waited for
RELOAD_S = 120.0  # for which an engine that does not load again is tried: a killed one gives its memory back late
LONGEST_PAUSE_S = 30.0  # between two such tries; the first is a second, each twice the one before

log = logging.getLogger(__name__)


class Sandboxes(Protocol):
    """Sandbox actors, as they come and go."""

    def up(self) -> list[SandboxEndpoint]:
        """Those that can be asked now."""
        ...

    async def counters(self) -> list[dict[str, float]]:
        """Counters of each actor; empty while one of them does not answer."""
        ...


@dataclass(slots=True)
class RayWorker:
    """A rollout actor. Ray restarts it when it dies; `recover` brings the new one up.

    rewards:    reward actors that are up; None: it scores by itself
    is_needed:  whether nothing goes on without it; else it may come back at any time
    home:       the Ray node and the process it is on; `host` is the node's name
    """

    actor: Any
    worker_id: str
    leases_at_once: int
    sandboxes: Sandboxes
    rewards: Callable[[], list[Any] | None] = lambda: None
    recover_s: float = 600.0
    is_needed: Callable[[], bool] = lambda: True
    engine_name: str = ""
    home: Home | None = None
    host: str = ""
    is_up: bool = False

    @property
    def node(self) -> str:
        return self.worker_id if self.home is None else self.home[0]

    @property
    def _where(self) -> str:
        return f" on {self.host}" if self.host else ""

    async def start(self) -> dict[str, Any]:
        info = await expected(self.actor.start.remote(self.sandboxes.up(), self.rewards()))
        self.home, self.host = info.pop("home"), info.pop("host")
        self.is_up = True
        await self.send_actors()  # of those that came or went while it loaded
        return info

    async def send_actors(self) -> None:
        """Tells it which sandbox and reward actors are up. One that is down is told when it starts."""
        if self.is_up:
            with suppress(RayActorError, TimeoutError):
                await asyncio.wait_for(self.actor.use.remote(self.sandboxes.up(), self.rewards()), ANSWER_S)

    async def load_weights(self) -> list[str]:
        """Raises EngineError when it is needed, lost, and does not come back."""
        try:
            return await expected(self.actor.load_weights.remote())
        except RayActorError:
            self.is_up = False
            if not self.is_needed():
                return [f"{self.worker_id} is lost; it takes the new weights when it comes back"]
            await self.recover()  # a fresh start takes the weights that serve now
            return [f"{self.worker_id} was lost while it took new weights, and has been started again"]

    async def run_lease(self, lease: Lease) -> LeaseReport:
        try:
            return await expected(self.actor.run_lease.remote(for_another_host(lease)))
        except (RayActorError, EngineError, MemoryError) as error:
            self.is_up = False
            raise WorkerLost(f"{self.worker_id}{self._where} was lost ({reason(error)})") from error

    async def recover(self) -> None:
        """Waits until it is up again. Raises EngineError when it does not come back in `recover_s` and is needed, or
        comes back and its engine does not load in RELOAD_S."""
        now = asyncio.get_running_loop().time
        deadline, last_try, pause = now() + self.recover_s, None, 1.0
        while True:
            try:
                await self.start()
            except RayActorError as error:
                if now() > deadline and self.is_needed():
                    raise EngineError(f"{self.worker_id} did not come back within {self.recover_s:g} s") from error
                await asyncio.sleep(0.5)
            except (EngineError, ResourceError) as error:
                last_try = now() + RELOAD_S if last_try is None else last_try
                if now() + pause > last_try:
                    raise EngineError(
                        f"{self.worker_id}{self._where} does not load its engine again: {error}"
                    ) from error
                log.warning("%s%s is tried again in %g s: %s", self.worker_id, self._where, pause, reason(error))
                end_process(self.actor, None)  # what it has of a GPU goes with it
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                return

    async def abort(self, why: str) -> None:
        """Kills its process, which may not even hear that it should end; Ray starts it again."""
        del why
        end_process(self.actor, self.home)

    async def snapshot(self) -> Snapshot | None:
        try:
            return await asyncio.wait_for(self.actor.snapshot.remote(), ANSWER_S)
        except (RayActorError, TimeoutError):
            return None

    async def check_counters(self) -> list[dict[str, float]]:
        return await self.sandboxes.counters()

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        try:
            return await expected(self.actor.logprobs.remote(prompt_ids, response_ids))
        except RayActorError as error:
            raise EngineError(f"{self.worker_id} was lost: {reason(error)}") from error

    async def stop(self) -> None:
        try:
            await asyncio.wait_for(self.actor.stop.remote(), STOP_S)
        except (RayActorError, TimeoutError):
            return
