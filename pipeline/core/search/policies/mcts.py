"""Searches a tree of steps by Monte Carlo; a simulation is a whole trajectory, sampled from the chosen node and
verified.

    child chosen = argmax_c  Q(c) + c_puct · P(c) · sqrt(N(s)) / (1 + N(c))        (PUCT: Silver et al. 2017)
    Q(c) = W(c) / M(c): share that passed of the simulations through c that were right or wrong; a child without any
    has its parent's Q

A new child is one more arm of every node with fewer than `width` of them, with its parent's Q and N = 0, so that the
search widens where its children disappoint. P is equal over the arms, or a softmax of the siblings' scores.

The rollout is sampled in one request, stays in the tree and is cut at its step ends, so that later simulations branch
inside it: no token is spent on playouts that are thrown away. `parallel` simulations fly at once; each counts as lost
until its verdict is there (virtual loss), so with more than one the course depends on which comes first, and replay
follows the journal's order. Simulations that were neither right nor wrong (truncated, without an answer, not to be
checked) count in N alone: the search tries elsewhere next, and takes nothing for wrong.

Degenerate cases: width = 1 is one trajectory; without step ends the tree is the root with at most `width` leaves.
The search ends early when every branch is exhausted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import exp, sqrt
from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.counts import leaf_counts
from berry.pipeline.core.values.estimate import Heads
from berry.pipeline.records import DropReason, Finish

_NEW = ""  # the arm that samples a new child


class Mcts(PolicyConfig):
    """Monte-Carlo tree search over steps with PUCT; every simulation is a full trajectory that is verified."""

    type: Literal["mcts"] = "mcts"
    simulations: int = Field(default=32, ge=1)
    """Trajectories a problem."""
    parallel: int = Field(default=4, ge=1)
    """Simulations in flight at once, kept apart by virtual losses."""
    c_puct: float = Field(default=1.0, ge=0)
    """Weight of exploration."""
    width: int = Field(default=4, ge=1)
    """Children of a node at most."""
    prior: Literal["uniform", "scorer"] = "uniform"
    """Prior over siblings: equal, or a softmax of their scores."""
    prior_temperature: float = Field(default=0.2, gt=0)
    """Of that softmax."""
    scorer: str = "prm"
    """Value model asked for the prior."""


@dataclass(slots=True)
class _Stat:
    visits: int = 0
    known: int = 0  # of the visits, those that were right or wrong
    won: int = 0
    flying: int = 0

    @property
    def n(self) -> int:
        return self.visits + self.flying

    def q(self, otherwise: float) -> float:
        lost = self.known + self.flying
        return self.won / lost if lost else otherwise


class MctsSearch(Search[Mcts]):
    """Selects, expands, rolls out and backs up, again and again."""

    config = Mcts
    needs_steps = True
    keeps_detail = True
    wants_token_ends = True
    heads = Heads.OWN
    cuts = False

    @classmethod
    def width(cls, policy: Mcts) -> int:
        return min(policy.parallel, policy.simulations)

    @classmethod
    def planned_leaves(cls, policy: Mcts) -> int:
        return policy.simulations

    def begin(self) -> None:
        self._stats: dict[str, _Stat] = {self.tree.root.node_id: _Stat()}
        self._to_come = self.policy.simulations
        self._paths: dict[str, list[str]] = {}  # leaf ─► nodes on which its simulation is in flight
        self._closed: set[str] = set()
        self._launch()

    def scheduled(self, node: TreeNode, n: int) -> int:
        """What flies before the first verdict: one sample of a node, of the root the first batch."""
        del n
        policy = self.policy
        return 1 if node.parent is not None else min(policy.parallel, policy.width, policy.simulations)

    # ---- choosing ---------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        flying = self._stats[self.tree.root.node_id]
        while self._to_come > 0 and flying.flying < self.policy.parallel:
            node = self._select()
            if node is None or not self.grow(node, 1, to_end=True):
                return
            self._to_come -= 1
            for name in self._line(node):
                self._stats[name].flying += 1

    def _select(self) -> TreeNode | None:
        """The node to sample from next; None if there is none before more has come in."""
        node = self.tree.root
        while node.node_id not in self._closed:
            node = node.tip
            arrived = [child for child in node.children if child.node_id in self._stats]  # else its tool is at work
            running = len(self.running_indices(node)) + len(node.children) - len(arrived)
            room = len(arrived) + running < self.policy.width
            children = [child for child in arrived if child.node_id not in self._closed]
            if not children:
                return node if room else None
            merit = self._merits(node, children, running=running)
            best = max(children, key=lambda child: (merit[child.node_id], child.node_id))
            if room and merit[_NEW] >= merit[best.node_id]:
                return node
            node = best
        return None

    def _merits(self, node: TreeNode, children: list[TreeNode], *, running: int) -> dict[str, float]:
        """Q + U of every child and of a new one."""
        at = self._stats[node.node_id]
        parent_q = at.q(0.0)
        explore = self.policy.c_puct * sqrt(at.n)
        new = 1 / (len(children) + 1)
        merits = {_NEW: parent_q + explore * new / (1 + running)}
        for child, prior in zip(children, self._priors(children), strict=True):
            stat = self._stats[child.node_id]
            merits[child.node_id] = stat.q(parent_q) + explore * (1 - new) * prior / (1 + stat.n)
        return merits

    def _priors(self, children: list[TreeNode]) -> list[float]:
        scores = [child.prm for child in children if child.prm is not None]
        if self.policy.prior == "uniform" or not scores:
            return [1 / len(children)] * len(children)
        mean = sum(scores) / len(scores)
        temperature = self.policy.prior_temperature
        weights = [exp(((c.prm if c.prm is not None else mean) - 1) / temperature) for c in children]
        return [weight / sum(weights) for weight in weights]

    # ---- results ----------------------------------------------------------------------------------------------------

    def on_step(self, node: TreeNode) -> None:
        """A segment that stopped short although asked for the end: the engine's own limit. It can be grown on."""
        self._arrived(node)
        self._resolve(node, ended=False)

    def on_leaf(self, node: TreeNode) -> None:
        self._arrived(node)
        if node.drop is not None:
            self._resolve(node)

    def _arrived(self, node: TreeNode) -> None:
        self._paths[node.node_id] = self._line(self.source(node))
        sample = self.sample(node)
        deepest = max(0, self.rollout.budget.max_depth - sample[0].steps)
        for piece in self.cut_into_steps(node, most=deepest):
            self._stats[piece.node_id] = _Stat()
            if piece is not node and self.policy.prior == "scorer":
                self.ask_score(piece, self.policy.scorer)
        for call, result in pairwise(sample):
            if result.given is not None:
                self._stats[result.node_id] = self._stats[call.node_id]  # nothing is chosen between the two
        if node.finish is not Finish.STEP:
            self._close(node)

    def on_verdict(self, node: TreeNode) -> None:
        self._resolve(node)

    def _resolve(self, leaf: TreeNode, *, ended: bool = True) -> None:
        for name in self._paths.pop(leaf.node_id):
            self._stats[name].flying -= 1
        if ended:
            counts = leaf_counts(leaf)
            for name in self._line(leaf):
                stat = self._stats[name]
                stat.visits += 1
                stat.known += counts.checked
                stat.won += counts.passed
        self._launch()

    def on_lost(self, node: TreeNode, count: int) -> None:
        for name in self._line(node):
            self._stats[name].flying -= count
        if node.drop is DropReason.ENGINE_FAILED:
            self._close(node)
        self._launch()

    def _close(self, node: TreeNode) -> None:
        """Nothing more can be sampled here; up from here too where that was the last."""
        at: TreeNode | None = node
        while at is not None:
            full = at.finish is not Finish.STEP or at.tip is not at or len(at.children) >= self.policy.width
            if at is not node and (not full or any(c.node_id not in self._closed for c in at.children)):
                return
            self._closed.add(at.node_id)
            at = at.parent

    def _line(self, node: TreeNode) -> list[str]:
        """`node` and all above it, the root too; without results, whose calls stand for them."""
        return [self.tree.root.node_id, *(n.node_id for n in self.tree.path(node) if n.given is None)]

    def on_idle(self) -> None:
        self._launch()

    def wanted(self) -> int:
        return self.missing_leaves()

    def extend(self, leaves: int) -> None:
        self._to_come += leaves
        self._launch()

    def policy_state(self) -> object:
        stats = [(name, s.visits, s.known, s.won, s.flying) for name, s in sorted(self._stats.items())]
        return stats, sorted(self._paths.items()), sorted(self._closed), self._to_come
