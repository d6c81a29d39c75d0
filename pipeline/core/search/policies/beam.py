"""Searches with beams, step by step (Snell et al. 2024; Xie et al. 2023).

    candidates at depth d = width next steps of each beam ─► scores ─► the `beams` best go on

A candidate that ends its answer competes like the others; chosen, it keeps its place for good, so that `beams` answers
come out. Those not chosen are verified all the same: they are paid for. The ranking waits for every candidate of its
depth, as the policy itself demands; other problems fill the engine meanwhile. Ties go to the smaller node id.

Degenerate cases: width = 1 is best_of_n with `beams` samples (step by step), beams = 1 is greedy search on the scorer.
A score that can't be had counts as 1/2.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from pydantic import Field

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.records import Finish


class Beam(PolicyConfig):
    """Step-level beam search: of all candidates at a depth the best few go on."""

    type: Literal["beam"] = "beam"
    beams: int = Field(default=4, ge=1)
    """Candidates kept at every depth."""
    width: int = Field(default=4, ge=1)
    """Next steps sampled for each of them."""
    scorer: str = "prm"
    """Value model that ranks the candidates."""
    spare: float = Field(default=0.05, ge=0, le=1)
    """Share of what is given up that is finished all the same, drawn at random, one continuation each, and then weighs
    1/spare: with it values and pass rates stay unbiased. 0: values are those of survivors, and no labels. Candidates
    are given up at every depth, so that it adds some spare * depth / 2 to the tokens: lower it for long answers."""


@dataclass(slots=True)
class Frontier:
    """One beam: the places it has left, what it waits for, and the candidates that have come."""

    places: int
    waiting: int = 0
    candidates: list[TreeNode] = field(default_factory=list)
    unscored: set[str] = field(default_factory=set)


P = TypeVar("P", bound=PolicyConfig)


class FrontierSearch(Search[P]):
    """Searches along independent frontiers, each with so many places; beam search has one frontier."""

    needs_steps = True
    gives_up = True
    scores_steps = True
    leaves_known = False  # a candidate that ends its answer is a leaf, chosen or not

    @classmethod
    @abstractmethod
    def dimensions(cls, policy: P) -> tuple[int, int, int]:
        """(independent frontiers, places in each, next steps sampled for a place)."""

    @classmethod
    @abstractmethod
    def scorer(cls, policy: P) -> str:
        """Value model that ranks the candidates."""

    @classmethod
    def width(cls, policy: P) -> int:
        frontiers, places, width = cls.dimensions(policy)
        return frontiers * places * width

    @classmethod
    def planned_leaves(cls, policy: P) -> int:
        frontiers, places, _ = cls.dimensions(policy)
        return frontiers * places

    @classmethod
    def unpruned(cls, policy: P) -> tuple[PolicyConfig, str]:
        return Fixed(branching=(cls.width(policy),)), cls.scorer(policy)

    @classmethod
    def conflicts(cls, policy: P, rollout: Rollout) -> Iterator[str]:
        candidates, most = cls.width(policy), rollout.budget.max_leaves
        if most is not None and candidates > most:
            yield (
                f"rollout.policy ({policy.type}) samples {candidates} candidates at the first step, "
                f"rollout.budget.max_leaves allows {most}"
            )

    def begin(self) -> None:
        groups, places, width = self.dimensions(self.policy)
        self._frontiers = [Frontier(places) for _ in range(groups)]
        self._group_of: dict[str, int] = {}
        first = self.grow(self.tree.root, groups * places * width)
        for index in range(first):
            self._frontiers[self._group_at_root(index)].waiting += 1

    def _group_at_root(self, index: int) -> int:
        return index % len(self._frontiers)

    def _frontier_of(self, node: TreeNode) -> Frontier:
        """Of a node just added."""
        source = self.source(node)
        at_root = source.parent is None
        group = self._group_at_root(self.sample(node)[0].index) if at_root else self._group_of[source.node_id]
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
            self.ask_score(node, self.scorer(self.policy))
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
        running = self.unfinished_indices(self.tree.root)
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
                self.give_up(node)
        frontier.places -= sum(node.finish is not Finish.STEP for node in chosen)
        width = self.dimensions(self.policy)[2]
        frontier.waiting = sum(self.grow(node, width) for node in chosen if node.finish is Finish.STEP)

    def policy_state(self) -> object:
        return [
            (f.places, f.waiting, sorted(n.node_id for n in f.candidates), sorted(f.unscored)) for f in self._frontiers
        ]


class BeamSearch(FrontierSearch[Beam]):
    """Grows `beams` prefixes step by step, and keeps the best of their continuations."""

    config = Beam

    @classmethod
    def dimensions(cls, policy: Beam) -> tuple[int, int, int]:
        return 1, policy.beams, policy.width

    @classmethod
    def scorer(cls, policy: Beam) -> str:
        return policy.scorer

    @classmethod
    def spared_share(cls, policy: Beam) -> float:
        return policy.spare
