"""What the coordinator sees of a rollout actor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import psutil
import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from berry.pipeline.errors import EngineError
from berry.pipeline.runtime.actors.remote import expected
from berry.pipeline.runtime.actors.sandbox_client import SandboxEndpoint
from berry.pipeline.runtime.worker import WorkerLost
from berry.pipeline.stages.leases.lease import Lease, LeaseReport, Snapshot
from berry.pipeline.stages.leases.partition import packed


class Sandboxes(Protocol):
    """Sandbox actors, as they come and go."""

    def up(self) -> list[SandboxEndpoint]: ...

    async def figures(self) -> list[dict[str, float]]: ...


@dataclass(slots=True)
class RayWorker:
    """A rollout actor. Ray restarts it when it dies; `recover` brings the new one up."""

    actor: Any
    worker_id: str
    leases_at_once: int
    sandboxes: Sandboxes
    rewards: Callable[[], list[Any] | None] = lambda: None  # reward actors that are up; None: it scores by itself
    recover_s: float = 600.0
    needed: Callable[[], bool] = lambda: True  # whether nothing goes on without it; else it may come back any time
    home: tuple[str, int] | None = None  # node and process
    is_up: bool = False

    @property
    def node(self) -> str:
        return self.worker_id if self.home is None else self.home[0]

    async def start(self) -> dict[str, Any]:
        info = await expected(self.actor.start.remote(self.sandboxes.up(), self.rewards()))
        self.home = info.pop("home")
        self.is_up = True
        await self.tell()  # of those that came or went while it loaded
        return info

    async def tell(self) -> None:
        """Where checks and scores go from now on. One that is down hears of it when it starts."""
        if self.is_up:
            with suppress(RayActorError, TimeoutError):
                await asyncio.wait_for(self.actor.use.remote(self.sandboxes.up(), self.rewards()), 5)

    async def load_weights(self) -> list[str]:
        """Raises EngineError when it is lost and does not come back."""
        try:
            return await expected(self.actor.load_weights.remote())
        except RayActorError:
            self.is_up = False
            if not self.needed():
                return [f"{self.worker_id} is lost; it takes the new weights when it comes back"]
            await self.recover()  # a fresh start takes the weights that serve now
            return [f"{self.worker_id} was lost while it took new weights, and has been started again"]

    async def run_lease(self, lease: Lease) -> LeaseReport:
        try:
            return await expected(self.actor.run_lease.remote(packed(lease)))
        except (RayActorError, EngineError, MemoryError) as error:
            self.is_up = False
            raise WorkerLost(f"{self.worker_id} was lost: {error}") from error

    async def recover(self) -> None:
        deadline = asyncio.get_running_loop().time() + self.recover_s
        while True:
            try:
                await self.start()
            except RayActorError as error:
                if asyncio.get_running_loop().time() > deadline and self.needed():
                    raise EngineError(f"{self.worker_id} did not come back within {self.recover_s:g} s") from error
                await asyncio.sleep(0.5)
            else:
                return

    async def give_up(self, why: str) -> None:
        """Ends its process, which may not even hear that it should end; Ray starts it again."""
        del why
        ray.kill(self.actor, no_restart=False)
        if self.home is not None:
            node, process = self.home
            where = NodeAffinitySchedulingStrategy(node, soft=False)
            _end.options(num_cpus=0, max_retries=0, scheduling_strategy=where).remote(process)

    async def snapshot(self) -> Snapshot | None:
        try:
            return await asyncio.wait_for(self.actor.snapshot.remote(), 5)
        except (RayActorError, TimeoutError):
            return None

    async def checks(self) -> list[dict[str, float]]:
        """Of the sandbox actors, which all workers share; nothing while one is being restarted."""
        return await self.sandboxes.figures()

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


@ray.remote
def _end(process: int) -> None:
    """On the actor's own node."""
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(process)
        if " ".join(found.cmdline()).startswith("ray::RolloutActor"):  # the number may be another's now
            found.kill()
