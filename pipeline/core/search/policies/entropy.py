"""Samples full chains first, then forks them at the tokens where the model was least certain (EPTree of TreeRL, Hou et
al. 2025).

    M chains; L times: in each chain's tree the N tokens of highest entropy H_t = -sum_v p_t(v) log p_t(v)
    become forks with T new continuations each: M · (1 + L·N·T) leaves

A fork at token t cuts the segment before t, so that t is drawn anew and all before it stays in the prefix
cache. A chain's tree forks as soon as its own samples are there, whatever the other chains do. The figures do
not depend on the order of arrival: ties go to the earlier position, then the smaller node id.

Degenerate cases: L = 0 is best_of_n with M samples. Without entropies the surprisal -log p(token) stands in;
without either nothing forks. First tokens are no forks (that would be a new chain), nor is a token that a
fork starts with.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.estimate import Heads


class Entropy(PolicyConfig):
    """Full chains first, then forks at the highest-entropy tokens (EPTree of TreeRL, Hou et al. 2025)."""

    type: Literal["entropy"] = "entropy"
    chains: int = Field(default=4, ge=1)
    """M: independent chains a problem at the start."""
    forks: int = Field(default=2, ge=1)
    """N: highest-entropy tokens of each tree to fork at, each round."""
    rounds: int = Field(default=1, ge=0)
    """L: rounds of forking."""
    branches: int = Field(default=2, ge=1)
    """T: new continuations at each fork."""


class EntropySearch(Search[Entropy]):
    """Draws chains, and forks them where the next token was least certain."""

    config = Entropy
    works_on_steps = False
    keeps_detail = True
    wants_token_ends = True
    heads = Heads.FORKS
    wants_entropies = True

    @classmethod
    def width(cls, policy: Entropy) -> int:
        return policy.chains

    @classmethod
    def planned_leaves(cls, policy: Entropy) -> int:
        return policy.chains * (1 + policy.rounds * policy.forks * policy.branches)

    def begin(self) -> None:
        self._open: dict[str, int] = {}  # chain (its segment's origin) ─► samples in flight in its tree
        self._rounds: dict[str, int] = {}
        self._chain_of: dict[str, str] = {}  # a sampled segment's origin ─► its chain
        self.grow(self.tree.root, self.policy.chains, to_end=self.rollout.cut is None)

    def on_step(self, node: TreeNode) -> None:
        chain = self._join(node)
        self._open[chain] += self.grow(node, 1)
        self._fork_when_complete(chain)

    def on_leaf(self, node: TreeNode) -> None:
        self._fork_when_complete(self._join(node))

    def on_cut(self, node: TreeNode) -> None:
        self._fork_when_complete(self._chain_of.get(node.origin) or self._join(node))

    def on_lost(self, node: TreeNode, count: int) -> None:
        if node.parent is not None:
            chain = self._chain_of[node.origin]
            self._open[chain] -= count
            self._fork_when_complete(chain)

    def _join(self, node: TreeNode) -> str:
        """Count the arrival of `node` in its chain's tree."""
        source = self.source(node)
        if source.parent is None:
            chain = node.origin
            self._open[chain] = 0
            self._rounds[chain] = 0
        else:
            chain = self._chain_of[source.origin]
            self._open[chain] -= 1
        for part in self.sample(node):
            self._chain_of[part.origin] = chain
        return chain

    def _fork_when_complete(self, chain: str) -> None:
        if self._open[chain] or self._rounds[chain] >= self.policy.rounds or self.stopping is not None:
            return
        self._rounds[chain] += 1
        top = self._top_of(chain)
        rank = self._candidates(top)
        chosen = nsmallest(self.policy.forks, rank, key=lambda place: (-place[0], place[1], place[2].node_id))
        heads: list[TreeNode] = []
        for node in {place[2].node_id: place[2] for place in chosen}.values():
            cuts = sorted(at for _, at, other in chosen if other is node)
            heads += self.split(node, cuts)[:-1]
        for head in heads:
            self._open[chain] += self.grow(head, self.policy.branches, to_end=self.rollout.cut is None)

    def _top_of(self, chain: str) -> TreeNode:
        node = self.tree[chain]
        while node.parent is not None and node.parent.parent is not None:
            node = node.parent
        return node

    def _candidates(self, top: TreeNode) -> Iterator[tuple[float, int, TreeNode]]:
        """(uncertainty in nats, position inside the node, node) for every token that may become a fork."""
        for node in self.tree.walk(top):
            figures = node.entropies or ([-logprob for logprob in node.logprobs] if node.logprobs else None)
            if figures is not None and not self.is_cut(node):
                for at in range(1, len(figures)):
                    yield figures[at], at, node

    def policy_state(self) -> object:
        return sorted(self._open.items()), sorted(self._rounds.items())
