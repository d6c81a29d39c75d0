"""Provides a worker without an engine: for tests, and for measuring what coordination alone costs.

ScriptedWorker(run) ─► Worker.run_lease ─► what `run` returns
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from berry.pipeline.errors import EngineError
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases.lease import Lease, LeaseReport, Snapshot


def empty_report(lease: Lease, worker_id: str) -> LeaseReport:
    """The report of a lease whose problems gave no trajectory."""
    return LeaseReport(lease.number, worker_id, len(lease.problems), 0, 0, 0, {}, TokenLedger(), 0.0)


@dataclass
class ScriptedWorker:
    """A `Worker` that is always up, has nothing to show, and finishes every lease at once unless `run` does it. Tests
    override what they are about."""

    worker_id: str
    leases_at_once: int = 2
    node: str = ""
    engine_name: str = ""
    is_up: bool = True
    shown: Snapshot | None = None
    run: Callable[[Lease], Awaitable[LeaseReport]] | None = None
    aborted: list[str] = field(default_factory=list)  # the reasons

    def __post_init__(self) -> None:
        self.node = self.node or self.worker_id

    async def run_lease(self, lease: Lease) -> LeaseReport:
        return empty_report(lease, self.worker_id) if self.run is None else await self.run(lease)

    async def recover(self) -> None:
        """Returns at once: there is nothing to start again."""

    async def load_weights(self) -> list[str]:
        return []

    async def snapshot(self) -> Snapshot | None:
        return self.shown

    async def check_counters(self) -> list[dict[str, float]]:
        return []

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        raise EngineError(f"{self.worker_id} has no engine for {len(prompt_ids)} and {len(response_ids)} tokens")

    async def abort(self, why: str) -> None:
        self.aborted.append(why)
