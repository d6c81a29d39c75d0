"""Declares what the driver asks of a worker and of sandbox slots, whatever stands behind them.

Coordinator, Progress, stalls, logprob_audit ─► Worker ◄─ LocalWorker (this process), RayWorker (an actor)
autoscaler ─► SandboxSlots ◄─ LocalWorker, Fleet
"""

from __future__ import annotations

from typing import Protocol

from berry.pipeline.core.balance import SlotBounds
from berry.pipeline.errors import EngineError
from berry.pipeline.stages.leases.lease import Lease, LeaseReport, Snapshot


class WorkerLost(EngineError):
    """Says that a worker died, or can't go on, with its lease unfinished; it may come back."""


class Worker(Protocol):
    """One engine and the searches on it."""

    @property
    def worker_id(self) -> str: ...

    @property
    def engine_name(self) -> str:
        """The one of `engines` that it holds; "" where the run has one."""
        ...

    @property
    def node(self) -> str:
        """The machine it is on; its own name where that is not known."""
        ...

    @property
    def leases_at_once(self) -> int:
        """Leases that keep its engine full."""
        ...

    @property
    def is_up(self) -> bool:
        """False while it is known to be down, however long that takes."""
        ...

    async def run_lease(self, lease: Lease) -> LeaseReport:
        """Searches and commits a lease. Raises WorkerLost when the lease should be handed out again."""
        ...

    async def recover(self) -> None:
        """Waits until the worker can serve again. Raises EngineError if it never will."""
        ...

    async def load_weights(self) -> list[str]:
        """Takes the weights and the round that the run directory names; returns what could not be taken, in words."""
        ...

    async def snapshot(self) -> Snapshot | None:
        """Its figures now; None while it does not answer."""
        ...

    async def check_counters(self) -> list[dict[str, float]]:
        """Counters of the checkers that it asks, one each; all workers of a run share them."""
        ...

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        """The version of its weights, and the log-probability in nats of each response token. Raises EngineError."""
        ...

    async def abort(self, why: str) -> None:
        """Ends a worker that does not answer; its calls in flight fail."""
        ...


class SandboxSlots(Protocol):
    """Sandbox slots that can be made more or fewer while a run goes on."""

    def bounds(self) -> SlotBounds:
        """How many the cluster has room for."""
        ...

    def size(self) -> int:
        """Slots that were asked for."""
        ...

    async def resize(self, slots: int) -> None:
        """Asks for so many slots. Those that go finish what they were asked first: no verdict is lost."""
        ...
