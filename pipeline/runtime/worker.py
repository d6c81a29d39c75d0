"""worker: written by the move."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from berry.pipeline.core.balance import Bounds
from berry.pipeline.errors import EngineError
from berry.pipeline.stages.leases.lease import Lease, LeaseReport, Snapshot


class WorkerLost(EngineError):
    """The worker died, or can't go on, with the lease unfinished; it may come back."""


class Worker(Protocol):
    @property
    def worker_id(self) -> str: ...

    @property
    def leases_at_once(self) -> int: ...

    async def run_lease(self, lease: Lease) -> LeaseReport:
        """Raises WorkerLost when the lease should be handed out again."""
        ...

    async def recover(self) -> None:
        """Waits until the worker can serve again. Raises EngineError if it never will."""
        ...

    async def load_weights(self) -> list[str]:
        """Takes the weights and the round that weights.json names; what could not be taken, in words."""
        ...

    async def snapshot(self) -> Snapshot | None: ...

    async def checks(self) -> list[dict[str, float]]:
        """Counters of the checkers that this worker asks; all workers share them."""
        ...


class Stoppable(Protocol):
    @property
    def worker_id(self) -> str: ...

    @property
    def is_up(self) -> bool:
        """False while it is known to be down, and may be for as long as it takes."""
        ...

    async def snapshot(self) -> Snapshot | None: ...

    async def give_up(self, why: str) -> None:
        """Ends what does not answer; calls in flight fail."""
        ...


class Replica(Protocol):
    @property
    def worker_id(self) -> str: ...

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        """The weights' version, and log-probabilities of the response. Raises EngineError."""
        ...


class Pool(Protocol):
    """Sandbox slots that can be had more or fewer of."""

    def bounds(self) -> Bounds:
        """What the cluster has room for now."""
        ...

    def size(self) -> int:
        """Slots that were asked for."""
        ...

    async def resize(self, slots: int) -> None:
        """Asks for so many. Those that go are emptied first: no verdict is lost."""
        ...

    async def watch(self, join: Callable[[Worker], None]) -> None:
        """Beside a coordinator: sees to what comes and goes with its node, and lets new engines join."""
        ...
