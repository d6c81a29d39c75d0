"""Gives a policy what it is written on: the shared state machine, the verbs to ask with and the records it leaves.

policy hooks ─► grow, ask_score ─► commands          tree ─► nodes, trajectories, digest
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import cast

from berry.pipeline.config.sections.rollout.rollout import Rollout, TokensStep
from berry.pipeline.core import events as ev
from berry.pipeline.core import seeds, steps
from berry.pipeline.core.search import limits, outcome
from berry.pipeline.core.search.flight import InFlight
from berry.pipeline.core.search.hooks import P
from berry.pipeline.core.search.machine import Machine
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.estimate import Scheme, Values, estimate
from berry.pipeline.records import Node, Trajectory

REQUEST_CHILDREN = 256  # samples one Generate asks for at most: more are asked for in several


class Search(Machine[P]):
    """One problem's search: a policy subclasses it in one file."""

    # ---- for policies --------------------------------------------------------------------------------------

    @property
    def in_flight(self) -> InFlight:
        """How many samples, scores and verdicts are awaited."""
        return self._flight.count

    def leaves_left(self) -> int | None:
        """Leaves the budget still allows; None: no limit."""
        limit = self.rollout.budget.max_leaves
        return None if limit is None else limit + self.granted - self.leaves

    def grow(self, node: TreeNode, n: int, *, to_end: bool = False) -> int:
        """Ask for `n` more children of `node`, each one step long or to the end of the answer. Fewer if the
        leaf budget says so; the number asked for is returned. Behind a tool call they follow its result."""
        node = node.tip
        if self.stopping is not None or node.node_id in self._branches.cut:
            return 0
        opens = node.parent is not None and not node.children and not self._flight.running(node.node_id)
        left = self.leaves_left()
        if left is not None and n > left + opens:
            n = left + opens
            self.clipped = True
        room = self.room(node)
        if n <= 0 or room <= 0:
            return 0
        self.leaves += n - opens
        first, end = node.next_index, node.next_index + n
        node.next_index = end
        if not first:
            node.scheduled = self.scheduled(node, n)
        self._ask_for(node, first, end, to_end=to_end)
        return n

    def sample_rest(self, node: TreeNode, *, to_end: bool) -> None:
        self._ask_for(node, -1, 0, to_end=to_end)

    def _ask_for(self, node: TreeNode, first: int, end: int, *, to_end: bool) -> None:
        """Ask for the samples `first … end - 1` of `node`; -1 is the rest of a segment that was interrupted there."""
        rollout, room = self.rollout, self.room(node)
        until = limits.until(rollout, node, room, to_end=to_end, token_ends=self.wants_token_ends)
        to_end = rollout.is_interactive and limits.runs_to_end(rollout, node, to_end=to_end)
        priority = 0.0 if node.parent is None else -1.0 - node.depth  # started trees first, deeper first
        for start in range(first, end, REQUEST_CHILDREN):
            count = min(REQUEST_CHILDREN, end - start)
            seed = seeds.framed_seed(self._seed_frame, node.node_id, start)
            self._flight.ask(node.node_id, start, count, max_tokens=until.max_tokens, seed=seed, to_end=to_end)
            self.ledger.count("requests")
            self._out.append(ev.Generate(node.node_id, count, until, self._sampling, seed, priority, start))

    def running_indices(self, node: TreeNode) -> tuple[int, ...]:
        """Sample indices of the children of `node` that are being sampled."""
        return self._flight.indices(node.tip.node_id)

    def unfinished_indices(self, node: TreeNode) -> set[int]:
        """Sample indices of what was asked for from `node` and has not ended: that is being sampled, or whose tool call
        is being made."""
        interrupted = [self.sample(self.tree[name])[0] for name in self._flight.interrupted]
        return {*self.running_indices(node), *(first.index for first in interrupted if self.source(first) is node)}

    def sample(self, node: TreeNode) -> list[TreeNode]:
        """The nodes of the sample that ends with `node`, its last: several where a tool was called on the way."""
        nodes = [node]
        while nodes[-1].index < 0:
            above = nodes[-1].parent
            assert above is not None
            nodes.append(above)
        nodes.reverse()
        return nodes

    def source(self, node: TreeNode) -> TreeNode:
        """The node that the policy grew `node`'s sample from."""
        while node.index < 0:
            assert node.parent is not None
            node = node.parent
        above = node.parent
        assert above is not None
        return above if above.given is None or above.parent is None else above.parent

    def missing_leaves(self) -> int:
        """Leaves it should take to find the correct trajectories that are missing, at the pass rate so far
        (the mean of its posterior from a flat prior)."""
        missing = (self.rollout.budget.stop_after_correct or 1) - self.passed
        return max(0, round(missing * (self.checked + 2) / (self.passed + 1)))

    def cancel(self, node: TreeNode) -> None:
        """Stop the children of `node` that are being sampled; what is below goes on."""
        if self.is_running(node):
            self._out.append(ev.Cancel(node.tip.node_id))

    def cut_into_steps(self, leaf: TreeNode, *, most: int | None = None) -> list[TreeNode]:
        """Cut a sample at its step ends, the first `most` of them (None: all); the pieces in order, `leaf` last. A tool
        call ends a piece; its result is none."""
        if leaf.index >= 0:
            return self._cut_segment(leaf, most)
        pieces: list[TreeNode] = []
        for node in self.sample(leaf):
            if node.given is None:
                pieces += self._cut_segment(node, None if most is None else max(0, most - len(pieces)))
        return pieces

    def _cut_segment(self, node: TreeNode, most: int | None) -> list[TreeNode]:
        """Cut a segment at its step ends. Without `Completion.token_ends` only steps of a set number of tokens can be
        found: else it stays whole."""
        step, thinking = self.rollout.step, self.rollout.thinking
        if node.ends is not None and node.text is not None:
            first = node.offset == 0 and node.parent is self.tree.root
            offsets = steps.step_ends(node.text, node.ends, step, thinking=thinking if first else None)[:-1]
        elif isinstance(step, TokensStep):
            offsets = list(range(step.tokens, len(node.tokens), step.tokens))
        else:
            offsets = []
        pieces = self.split(node, offsets[:most])
        for piece in pieces:
            self.tree.forget_detail(piece)
        self.ledger.steps += len(pieces) - 1
        return pieces

    def split(self, node: TreeNode, offsets: Sequence[int]) -> list[TreeNode]:
        """Cut a segment before each of the token `offsets`; the pieces in order, `node` last."""
        pieces = self.tree.split_at(node, offsets)
        self._branches.add_pieces(pieces, pieces[0].parent)
        return pieces

    # ---- values ----------------------------------------------------------------------------------------------------

    @classmethod
    def scheme(cls, rollout: Rollout) -> Scheme:
        """How this policy draws, as far as the values of its trees depend on it."""
        early = limits.stops_early(rollout.budget)
        in_order = early and cls.stops_in_order(rollout)
        cut = rollout.cut if cls.cuts else None
        survivors = (cut is not None and cut.below > -inf and not cut.spare) or (
            cls.gives_up and not cls.spared_share(cast("P", rollout.policy))
        )
        return Scheme(
            cls.heads,
            survivors=survivors,
            adaptive=early and not in_order,
            cuts=cut is not None and cut.below > -inf,
            inside=cls.values_inside and (in_order or not early),
            ends=limits.EndsDraws(rollout.budget) if in_order else None,
        )

    def values(self) -> Values:
        """The value of every node of the finished tree."""
        scheme = self.scheme(self.rollout)
        if self.stopping is ev.FinishReason.BUDGET:  # what was long, or late, is missing
            scheme = replace(scheme, adaptive=True)
        if self._branches.none_spared:
            scheme = replace(scheme, survivors=True)
        return estimate(self.tree, scheme)

    # ---- records ----------------------------------------------------------------------------------------

    def nodes(self, values: Values | None = None) -> list[Node]:
        """The tree as records with their values, parents first; the root's tokens are the prompt. `values` saves
        working them out again."""
        return outcome.nodes(self.tree, self.values() if values is None else values)

    def trajectories(self) -> list[Trajectory]:
        """One for each leaf in an order that does not depend on arrival; `response` is left to the
        runtime."""
        return outcome.trajectories(self.tree, run_seed=self.run_seed, round_index=self.round_index)

    def digest(self) -> str:
        """Digest of tree, verdicts, scores, open questions and ledger: equal after a faithful replay."""
        counts = (self.passed, self.checked, self.leaves, self.granted, self.clipped)
        ends = (self.stopping, self.finished, self._settled)
        state = [
            self._flight.state(),
            sorted(self._branches.cut),
            sorted(self._branches.spared),
            self.ledger.snapshot(),
            counts,
            ends,
            self.policy_state(),
        ]
        return outcome.digest(self.tree, state)
