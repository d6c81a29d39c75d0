"""Branches where the value model is least certain, stops where it sees no hope, shares leaves out by value.

    next steps sampled from a node of value v:  b = 1 + round(4 v (1 - v) · (max_branch - 1))
    a node with a quota of q leaves gives sibling i of them  q · v_i / sum_j v_j  (largest remainders), none if
    v_i < cut_below; a sibling without a leaf is not grown further

4 v (1 - v) is the variance of a pass or fail of chance v, scaled to 1 at v = 1/2: there another sample tells most.
Sharing by value is REBASE (Wu et al. 2024), with the score itself as weight. Only siblings wait for each other, so the
tree does not depend on the order of arrival. What is left over where a whole family was cut is given out again from the
root once the problem is quiet, in `waves` waves at most.

Degenerate cases: max_branch = 1 and cut_below = 0 is best_of_n with `chains` samples, step by step; a score that can't
be had counts as 1/2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.tree import TreeNode


class ValueGuided(PolicyConfig):
    """Branches where the value model is least certain, gives up where it sees no hope, shares leaves out by value."""

    type: Literal["value"] = "value"
    leaves: int = Field(default=16, ge=1)
    """Trajectories a problem, shared out down the tree in proportion to value. More of them than a node's share are
    sampled for choice; where these all end their answers there are a few leaves more (`budget.max_leaves` is hard)."""
    chains: int = Field(default=4, ge=1)
    """First steps sampled a problem."""
    max_branch: int = Field(default=4, ge=1)
    """Next steps sampled from a node whose value is 1/2; one where it is 0 or 1."""
    cut_below: float = Field(default=0.02, ge=0, le=1)
    """A node of lower value is not grown further."""
    waves: int = Field(default=2, ge=1)
    """Times at most that leaves are given out from the root: the first, and again what cut branches left over."""
    scorer: str = "prm"
    """Value model asked at every step."""
    spare: float = Field(default=0.05, ge=0, le=1)
    """Share of what is given up that is finished all the same, drawn at random, one continuation each, and then weighs
    1/spare: with it values and pass rates stay unbiased. 0: values are those of survivors, and no labels."""


@dataclass(slots=True)
class _Family:
    """Children of one node that share a quota of leaves."""

    quota: int
    waiting: int
    ended: int = 0
    members: list[TreeNode] = field(default_factory=list)
    unscored: set[str] = field(default_factory=set)


class ValueSearch(Search[ValueGuided]):
    """Shares the next samples among prefixes by their values."""

    config = ValueGuided
    needs_steps = True
    gives_up = True
    scores_steps = True

    @classmethod
    def width(cls, policy: ValueGuided) -> int:
        return policy.chains

    @classmethod
    def planned_leaves(cls, policy: ValueGuided) -> int:
        return policy.leaves

    @classmethod
    def unpruned(cls, policy: ValueGuided) -> tuple[PolicyConfig, str]:
        return Fixed(branching=(policy.leaves,)), policy.scorer

    @classmethod
    def spared_share(cls, policy: ValueGuided) -> float:
        return policy.spare

    @classmethod
    def conflicts(cls, policy: ValueGuided, rollout: Rollout) -> Iterator[str]:
        cut = rollout.cut
        if cut is not None and cut.model == policy.scorer and cut.below <= policy.cut_below:
            yield (
                f"rollout.cut.below = {cut.below} never acts: rollout.policy.cut_below = {policy.cut_below} on the "
                f"same scorer {cut.model!r} comes first"
            )

    def begin(self) -> None:
        self._families: dict[str, _Family] = {}  # parent ─► its children in the making
        self._ended = 0
        self._waves = 0
        self._wave()

    def _wave(self) -> None:
        left = self.policy.leaves + self.granted - self._ended
        if left > 0:
            self._waves += 1
            self._expand(self.tree.root, min(left, self.policy.chains), left)

    def _expand(self, node: TreeNode, branches: int, quota: int) -> None:
        n = self.grow(node, branches)
        if n:
            self._families[node.node_id] = _Family(quota, n)

    def on_step(self, node: TreeNode) -> None:
        family = self._family(node)
        family.waiting -= 1
        family.members.append(node)
        family.unscored.add(node.node_id)
        self.ask_score(node, self.policy.scorer)

    def on_leaf(self, node: TreeNode) -> None:
        self._ended += 1
        family = self._family(node)
        family.waiting -= 1
        family.ended += 1
        self._advance(self.source(node))

    def on_cut(self, node: TreeNode) -> None:
        family = self._family(node)
        if node not in family.members:
            family.waiting -= 1
        self._advance(self.source(node))

    def on_score(self, node: TreeNode, value: float | None) -> None:
        source = None if node.parent is None else self.source(node)
        if source is not None and source.node_id in self._families:
            self._families[source.node_id].unscored.discard(node.node_id)
            self._advance(source)

    def on_lost(self, node: TreeNode, count: int) -> None:
        self._families[node.node_id].waiting -= count
        self._advance(node)

    def _family(self, node: TreeNode) -> _Family:
        return self._families[self.source(node).node_id]

    def _advance(self, parent: TreeNode) -> None:
        family = self._families.get(parent.node_id)
        if family is None or family.waiting or family.unscored or self.stopping is not None:
            return
        ordered = sorted(family.members, key=lambda member: member.index)
        members, family.members = [member for member in ordered if not self.is_cut(member)], []
        values = [0.5 if member.prm is None else member.prm for member in members]
        weights = [value if value >= self.policy.cut_below else 0.0 for value in values]
        shares = apportion(max(0, family.quota - family.ended), weights)
        for member, value, share in zip(members, values, shares, strict=True):
            if share:
                spread = 4 * value * (1 - value)
                self._expand(member, 1 + round(max(0.0, spread) * (self.policy.max_branch - 1)), share)
            else:
                self.give_up(member)

    def on_idle(self) -> None:
        if self._waves < self.policy.waves:
            self._wave()

    def wanted(self) -> int:
        return self.missing_leaves()

    def extend(self, leaves: int) -> None:
        self._expand(self.tree.root, min(leaves, self.policy.chains), leaves)

    def policy_state(self) -> object:
        families = [
            (name, f.quota, f.waiting, f.ended, sorted(m.node_id for m in f.members), sorted(f.unscored))
            for name, f in sorted(self._families.items())
        ]
        return families, self._ended, self._waves


def apportion(total: int, weights: Sequence[float]) -> list[int]:
    """`total` things in proportion to weights by largest remainders; ties go to the first. Weights of 0 get nothing."""
    whole = sum(weights)
    if whole <= 0:
        return [0] * len(weights)
    exact = [total * weight / whole for weight in weights]
    shares = [int(share) for share in exact]
    rest = total - sum(shares)
    by_remainder = sorted(range(len(weights)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[:rest]:
        shares[i] += 1
    return shares
