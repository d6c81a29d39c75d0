"""Shares the leaf budget among the problems of one lease (`rollout.budget.reallocate`).

    BudgetRequest(unspent, wanted) of each search ─► LeafBudget ─► core.allocate, once all have asked ─► BudgetGrant

Pure but for waiting: what is granted depends on the needs alone. A search that waits holds no place on the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from berry.pipeline.core.allocate import Need, allocate


@dataclass(slots=True)
class LeafBudget:
    """One lease's budget. Every search settles once, or leaves; then all learn what they get."""

    open: set[str]
    seed: int
    needs: dict[str, Need] = field(default_factory=dict)
    grants: dict[str, int] = field(default_factory=dict)
    _decided: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    def among(cls, problem_ids: Iterable[str], seed: int) -> LeafBudget:
        """A budget that the problems of one lease share; `seed` decides between equals."""
        return cls(set(problem_ids), seed)

    def settle(self, need: Need) -> None:
        """Takes what a finished search says that it would gain by more leaves; it asks for none any more."""
        self.needs[need.problem_id] = need
        self.leave(need.problem_id)

    def leave(self, problem_id: str) -> None:
        """Nothing more will come from this search; harmless if it has settled."""
        self.open.discard(problem_id)
        if not self.open and not self._decided.is_set():
            self.grants = allocate(list(self.needs.values()), seed=self.seed)
            self._decided.set()

    async def granted(self, problem_id: str) -> int:
        """Waits until all problems have said what they need; the leaves that this one gets."""
        await self._decided.wait()
        return self.grants.get(problem_id, 0)
