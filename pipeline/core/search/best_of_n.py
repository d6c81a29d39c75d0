"""Independent samples, each to the end of its answer (self-consistency, Wang et al. 2022).

    y_1 … y_n ~ policy(· | prompt)

Degenerate case: n = 1 is plain sampling. With an in-loop cut each sample grows step by step instead, so that
a scorer can look at it. `budget.max_in_flight` keeps a window of samples open, so that an early stop saves
the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.policies import PolicyConfig
from berry.pipeline.config.sections.rollout import Rollout
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode


class BestOfN(PolicyConfig):
    """Independent samples (self-consistency; Wang et al. 2022)."""

    type: Literal["best_of_n"] = "best_of_n"
    n: int = Field(default=8, ge=1)
    """Trajectories a problem."""


class BestOfNSearch(Search[BestOfN]):
    config = BestOfN
    works_on_steps = False
    heeds_window = True

    @classmethod
    def width(cls, policy: BestOfN) -> int:
        return policy.n

    @classmethod
    def planned_leaves(cls, policy: BestOfN) -> int:
        return policy.n

    @classmethod
    def conflicts(cls, policy: BestOfN, rollout: Rollout) -> Iterator[str]:
        if rollout.sampling.temperature == 0 and policy.n > 1:
            yield f"rollout.sampling.temperature = 0 gives {policy.n} times the same trajectory; set it above 0"

    def begin(self) -> None:
        self._to_come = self.policy.n
        self._fill()

    def scheduled(self, node: TreeNode, n: int) -> int:
        """All samples but those of a grant, in however many requests they come."""
        return self.policy.n if node.parent is None else n

    def _fill(self) -> None:
        window = self.rollout.budget.max_in_flight
        n = self._to_come if window is None else min(self._to_come, window - self.in_flight.sequences)
        if n > 0:
            self._to_come -= n
            self.grow(self.tree.root, n, to_end=self.rollout.cut is None)

    def on_step(self, node: TreeNode) -> None:
        self.grow(node, 1)

    def on_leaf(self, node: TreeNode) -> None:
        self._fill()

    def on_lost(self, node: TreeNode, count: int) -> None:
        self._fill()

    def on_cut(self, node: TreeNode) -> None:
        self._fill()

    def wanted(self) -> int:
        return self.missing_leaves()

    def extend(self, leaves: int) -> None:
        self._to_come += leaves
        self._fill()

    def policy_state(self) -> object:
        return self._to_come
