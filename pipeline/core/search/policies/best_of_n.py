"""Draws independent samples, each to the end of its answer (self-consistency, Wang et al. 2022).

    y_1 … y_n ~ policy(· | prompt)

Degenerate case: n = 1 is plain sampling. With an in-loop cut each sample grows step by step instead, so that
a scorer can look at it. `budget.max_in_flight` keeps a window of samples open, so that an early stop saves
the rest. Without a cut, early stops look at the samples in the order in which they were drawn and wait for those that
are slower than later ones: so values can be told where verdicts ended the draws (core/values/stopped.py). After one
pass (`stop_after_correct: 1`) they can not, and nothing is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.search import limits
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.estimate import is_known


class BestOfN(PolicyConfig):
    """Independent samples (self-consistency; Wang et al. 2022)."""

    type: Literal["best_of_n"] = "best_of_n"
    n: int = Field(default=8, ge=1)
    """Trajectories a problem."""


class BestOfNSearch(Search[BestOfN]):
    """Draws all samples at once, or as many as a window lets through."""

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

    @classmethod
    def stops_in_order(cls, rollout: Rollout) -> bool:
        return rollout.cut is None and rollout.budget.stop_after_correct != 1

    def begin(self) -> None:
        self._to_come = self.policy.n
        self._in_order = limits.stops_early(self.rollout.budget) and self.stops_in_order(self.rollout)
        self._ended: dict[int, TreeNode] = {}  # sample ─► its leaf, where early stops look at samples in order
        self._looked_at = self._known = self._right = 0  # samples looked at, those with a verdict, those that pass
        self._fill()

    def scheduled(self, node: TreeNode, n: int) -> int:
        """All samples but those of a grant, in however many requests they come."""
        return self.policy.n if node.parent is None else n

    def _fill(self) -> None:
        budget = self.rollout.budget
        if self._in_order and budget.stop_after_correct is not None and self.passed >= budget.stop_after_correct:
            return  # the stop is certain, once the slower samples are there
        window = budget.max_in_flight
        n = (
            self._to_come
            if window is None
            else min(self._to_come, window - self.in_flight.sequences - self.in_flight.calls)
        )
        if n > 0:
            self._to_come -= n
            self.grow(self.tree.root, n, to_end=self.rollout.cut is None)

    def on_step(self, node: TreeNode) -> None:
        self.grow(node, 1)

    def on_leaf(self, node: TreeNode) -> None:
        self._end_of_sample(node)
        self._fill()

    def on_lost(self, node: TreeNode, count: int) -> None:
        self._end_of_sample(node)
        self._fill()

    def on_cut(self, node: TreeNode) -> None:
        self._fill()

    # ---- early stops in the order of the samples ---------------------------------------------------------------------

    def _end_of_sample(self, leaf: TreeNode) -> None:
        if not self._in_order:
            return
        at = leaf
        while at.parent is not None and at.parent.parent is not None:
            at = at.parent
        if at.parent is not None:  # a sample that never came has no node
            self._ended[at.index] = leaf
        self.look_for_stop()

    def look_for_stop(self) -> None:
        if not self._in_order:
            super().look_for_stop()
            return
        while self.stopping is None and self._looked_at < self.tree.root.next_index:
            leaf = self._ended.get(self._looked_at)
            if leaf is None and self._is_growing(self._looked_at):
                return
            if leaf is not None and leaf.drop is None and leaf.verdict is None:
                return
            self._looked_at += 1
            verdict = None if leaf is None else leaf.verdict
            if verdict is None or not is_known(verdict):
                continue
            self._known += 1
            self._right += verdict.passed
            enough = limits.early_stop(self.rollout.budget, passed=self._right, checked=self._known)
            if enough is not None:
                self.stop(enough)

    def _is_growing(self, sample: int) -> bool:
        root = self.tree.root
        return sample in self.running_indices(root) or any(child.index == sample for child in root.children)

    def wanted(self) -> int:
        return self.missing_leaves()

    def extend(self, leaves: int) -> None:
        self._to_come += leaves
        self._fill()

    def policy_state(self) -> object:
        return self._to_come, self._looked_at, self._known, self._right
