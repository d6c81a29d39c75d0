"""Branch where the value model is least certain, stop where it sees no hope.

    branches(v) = 1 + round(4 v (1 - v) · (max_branch - 1))        v < cut_below: none

4 v (1 - v) is the variance of a pass or fail of chance v, scaled to 1 at v = 1/2: there another sample tells and gains
most. (Value-guided expansion as in tree search for reasoning, e.g. Feng et al. 2023; the allocation by variance is
this repository's.) Leaves are shared out down the tree: a node with a quota of q leaves gives its b = min(q, branches)
children q/b each, so that the tree does not depend on the order of arrival. What cut branches leave over is given out
again from the root once the problem is quiet, `waves` times at most.

Degenerate cases: max_branch = 1 and cut_below = 0 is best_of_n, step by step; without a score a node has one child.
"""

from __future__ import annotations

from pipeline.config.policies import Value
from pipeline.core.search.base import Search
from pipeline.core.tree import TreeNode
from pipeline.records import DropReason


class ValueSearch(Search):
    scores_steps = True

    @property
    def _policy(self) -> Value:
        assert isinstance(self.rollout.policy, Value)
        return self.rollout.policy

    @property
    def planned_leaves(self) -> int:
        return self._policy.leaves

    def begin(self) -> None:
        self._quota: dict[str, int] = {}  # leaves a node may have below it
        self._shares: dict[tuple[str, int], int] = {}  # (parent, index) ─► quota of a child in flight
        self._waves = 0
        self._wave()

    def _wave(self) -> None:
        left = self._policy.leaves + self.granted - self.leaves
        if left > 0:
            self._waves += 1
            self._share_out(self.tree.root, min(left, self._policy.chains), left)

    def _share_out(self, node: TreeNode, branches: int, quota: int) -> None:
        first = node.next_index
        n = self.grow(node, branches)
        for i in range(n):
            self._shares[node.node_id, first + i] = quota // n + (i < quota % n)

    def on_step(self, node: TreeNode) -> None:
        assert node.parent is not None
        self._quota[node.node_id] = self._shares.pop((node.parent.node_id, node.index))
        self.ask_score(node, self._policy.scorer)

    def on_score(self, node: TreeNode, value: float | None) -> None:
        policy = self._policy
        quota = self._quota.pop(node.node_id, 0)
        if self.stopping is not None or self.is_cut(node) or not quota:
            return
        if value is not None and value < policy.cut_below:
            node.drop = DropReason.CUT_IN_LOOP
            self.cancel_below(node)
            return
        spread = 0.0 if value is None else 4 * value * (1 - value)
        branches = 1 + round(max(0.0, spread) * (policy.max_branch - 1))
        self._share_out(node, min(quota, branches), quota)

    def on_idle(self) -> None:
        if self._waves < self._policy.waves:
            self._wave()

    def wanted(self) -> int:
        return self.missing_leaves()

    def extend(self, leaves: int) -> None:
        self._share_out(self.tree.root, min(leaves, self._policy.chains), leaves)

    def policy_state(self) -> object:
        return sorted(self._quota.items()), sorted(self._shares.items()), self._waves
