"""Annotates every step of a solution with completions sampled from it (Math-Shepherd, Wang et al. 2024).

    soft label of step i = share of the k completions from its end that reach the right answer        (eq. 4)
    hard label of step i = whether any of them does                                                    (eq. 3)

Solutions are sampled to the end, cut at their step ends, and completed k times from each but the last, whose value is
the verdict. Rollouts: chains · (1 + (steps - 1) · k). `labels.step_labels(..., method="direct")` reads the estimates
(the solution's own continuation is one more sample of each prefix it runs through).

Degenerate case: a solution of one step gets no completions, its label is the verdict; truncated ones get none.
"""

from __future__ import annotations

from berry.pipeline.config.policies import Shepherd
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode


class ShepherdSearch(Search):
    keeps_detail = True
    wants_token_ends = True
    cuts = False

    @property
    def _policy(self) -> Shepherd:
        assert isinstance(self.rollout.policy, Shepherd)
        return self.rollout.policy

    @property
    def planned_leaves(self) -> int:
        """Known once the solutions are there; before that, for solutions of one step."""
        return self._policy.chains

    def begin(self) -> None:
        self.grow(self.tree.root, self._policy.chains, to_end=True)

    def on_leaf(self, node: TreeNode) -> None:
        if node.parent is not self.tree.root or node.drop is not None:
            self.tree.forget_detail(node)
            return
        pieces = self.cut_into_steps(node)[:-1]
        for piece in pieces[: self._policy.max_steps]:
            self.grow(piece, self._policy.completions, to_end=True)
