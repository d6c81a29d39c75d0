"""Step-level beam search (Snell et al. 2024; Xie et al. 2023).

    candidates at depth d = width next steps of each beam ─► scores ─► the `beams` best go on

A candidate that ends its answer competes like the others; chosen, it keeps its place for good, so that `beams` answers
come out. Those not chosen are verified all the same: they are paid for. The ranking waits for every candidate of its
depth, as the policy itself demands; other problems fill the engine meanwhile. Ties go to the smaller node id.

Degenerate cases: width = 1 is best_of_n with `beams` samples (step by step), beams = 1 is greedy search on the scorer.
A score that can't be had counts as 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from berry.pipeline.config.policies import Beam
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.records import DropReason, Finish


@dataclass(slots=True)
class Frontier:
    """One beam: the places it has left, what it waits for, and the candidates that have come."""

    places: int
    waiting: int = 0
    candidates: list[TreeNode] = field(default_factory=list)
    unscored: set[str] = field(default_factory=set)


class BeamSearch(Search):
    """Independent frontiers with so many places each; beam search has one."""

    scores_steps = True

    @property
    def _shape(self) -> tuple[int, int, int]:
        """(independent frontiers, places in each, next steps a candidate)."""
        assert isinstance(self.rollout.policy, Beam)
        return 1, self.rollout.policy.beams, self.rollout.policy.width

    @property
    def _scorer(self) -> str:
        assert isinstance(self.rollout.policy, Beam)
        return self.rollout.policy.scorer

    @property
    def planned_leaves(self) -> int:
        groups, places, _ = self._shape
        return groups * places

    def begin(self) -> None:
        groups, places, width = self._shape
        self._frontiers = [Frontier(places) for _ in range(groups)]
        self._group_of: dict[str, int] = {}
        first = self.grow(self.tree.root, groups * places * width)
        for index in range(first):
            self._frontiers[self._group_at_root(index)].waiting += 1

    def _group_at_root(self, index: int) -> int:
        return index % len(self._frontiers)

    def _frontier_of(self, node: TreeNode) -> Frontier:
        """Of a node just added."""
        assert node.parent is not None
        at_root = node.parent.parent is None
        group = self._group_at_root(node.index) if at_root else self._group_of[node.parent.node_id]
        self._group_of[node.node_id] = group
        return self._frontiers[group]

    def on_step(self, node: TreeNode) -> None:
        self._arrived(node)

    def on_leaf(self, node: TreeNode) -> None:
        self._arrived(node)

    def _arrived(self, node: TreeNode) -> None:
        frontier = self._frontier_of(node)
        frontier.waiting -= 1
        if node.drop is None and self.stopping is None:
            frontier.candidates.append(node)
            frontier.unscored.add(node.node_id)
            self.ask_score(node, self._scorer)
        self._advance(frontier)

    def on_score(self, node: TreeNode, value: float | None) -> None:
        group = self._group_of.get(node.node_id)
        if group is not None:
            self._frontiers[group].unscored.discard(node.node_id)
            self._advance(self._frontiers[group])

    def on_cut(self, node: TreeNode) -> None:
        if node.node_id not in self._group_of:
            frontier = self._frontier_of(node)
            frontier.waiting -= 1
            self._advance(frontier)

    def on_lost(self, node: TreeNode, count: int) -> None:
        if node.parent is None:
            self._recount_root()
            return
        frontier = self._frontiers[self._group_of[node.node_id]]
        frontier.waiting -= count
        self._advance(frontier)

    def _recount_root(self) -> None:
        """Children of the root belong to frontiers by index: count those that still run."""
        running = set(self.running_indices(self.tree.root))
        for group, frontier in enumerate(self._frontiers):
            frontier.waiting = sum(self._group_at_root(index) == group for index in running)
            self._advance(frontier)

    def _advance(self, frontier: Frontier) -> None:
        if frontier.waiting or frontier.unscored or not frontier.candidates or self.stopping is not None:
            return
        ranked = sorted(frontier.candidates, key=lambda n: (-(0.5 if n.prm is None else n.prm), n.node_id))
        frontier.candidates = []
        chosen = [node for node in ranked[: frontier.places] if not self.is_cut(node)]
        for node in ranked[frontier.places :]:
            if node.finish is Finish.STEP:
                node.drop = DropReason.CUT_IN_LOOP
        frontier.places -= sum(node.finish is not Finish.STEP for node in chosen)
        width = self._shape[2]
        frontier.waiting = sum(self.grow(node, width) for node in chosen if node.finish is Finish.STEP)

    def policy_state(self) -> object:
        return [
            (f.places, f.waiting, sorted(n.node_id for n in f.candidates), sorted(f.unscored)) for f in self._frontiers
        ]
