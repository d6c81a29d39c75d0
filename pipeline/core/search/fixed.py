"""A tree with set branch factors: every node at depth d has b_d children, each one step long.

    leaves = b_0 · b_1 · … · b_{D-1}; past the list each node has one child

Past the list a node is completed in one request, since nothing branches there any more (step by step only if
an in-loop cut is to look at the steps). Degenerate cases: [n] is best_of_n; a list of ones is one chain.
"""

from __future__ import annotations

from math import prod

from berry.pipeline.config.policies import Fixed
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode


class FixedSearch(Search):
    def begin(self) -> None:
        self._branch(self.tree.root)

    @property
    def planned_leaves(self) -> int:
        return prod(self._policy.branching)

    @property
    def _policy(self) -> Fixed:
        assert isinstance(self.rollout.policy, Fixed)
        return self.rollout.policy

    def _branch(self, node: TreeNode) -> None:
        branching = self._policy.branching
        n = branching[node.depth] if node.depth < len(branching) else 1
        last = node.depth + 1 >= len(branching) and self.rollout.cut is None
        self.grow(node, n, to_end=last)

    def on_step(self, node: TreeNode) -> None:
        self._branch(node)
