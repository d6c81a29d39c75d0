"""What the coordinator sees of a rollout actor."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import RayActorError, RayTaskError

from pipeline.errors import BerryError, EngineError
from pipeline.runtime.coordinator import WorkerLost
from pipeline.stages.handout import packed
from pipeline.stages.leases import Lease, LeaseReport, Snapshot


@dataclass(slots=True)
class RayWorker:
    """A rollout actor. Ray restarts it when it dies; `recover` brings the new one up."""

    actor: Any
    worker_id: str
    leases_at_once: int
    sandboxes: list[Any]
    rewards: list[Any] = field(default_factory=list)
    recover_s: float = 600.0

    async def start(self) -> dict[str, Any]:
        return await expected(self.actor.start.remote(self.sandboxes, self.rewards))

    async def refresh(self) -> list[str]:
        """Raises EngineError when it is lost and does not come back."""
        try:
            return await expected(self.actor.refresh.remote())
        except RayActorError:
            await self.recover()  # a fresh start takes the weights that serve now
            return [f"{self.worker_id} was lost while it took new weights, and has been started again"]

    async def run_lease(self, lease: Lease) -> LeaseReport:
        try:
            return await expected(self.actor.run_lease.remote(packed(lease)))
        except (RayActorError, EngineError) as error:
            raise WorkerLost(f"{self.worker_id} was lost: {error}") from error

    async def recover(self) -> None:
        deadline = asyncio.get_running_loop().time() + self.recover_s
        while True:
            try:
                await self.start()
            except RayActorError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise EngineError(f"{self.worker_id} did not come back within {self.recover_s:g} s") from error
                await asyncio.sleep(0.5)
            else:
                return

    async def snapshot(self) -> Snapshot | None:
        try:
            return await asyncio.wait_for(self.actor.snapshot.remote(), 5)
        except (RayActorError, TimeoutError):
            return None

    async def checks(self) -> list[dict[str, float]]:
        """Of the sandbox actors, which all workers share; nothing while one is being restarted."""
        asked = [actor.metrics.remote() for actor in self.sandboxes]
        answers = await asyncio.gather(*(asyncio.wait_for(a, 5) for a in asked), return_exceptions=True)
        lost = any(isinstance(a, BaseException) or not a for a in answers)
        return [] if lost else [a for a in answers if isinstance(a, dict)]

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        try:
            return await expected(self.actor.logprobs.remote(prompt_ids, response_ids))
        except RayActorError as error:
            raise EngineError(f"{self.worker_id} was lost: {error}") from error

    async def stop(self) -> None:
        try:
            await asyncio.wait_for(self.actor.stop.remote(), 20)
        except (RayActorError, TimeoutError):
            return


async def expected(reference: Any) -> Any:
    """Awaits a remote result; an error of ours that crossed the wire comes out as itself."""
    try:
        return await reference
    except RayTaskError as error:
        if isinstance(error.cause, BerryError):
            raise error.cause from None
        raise
