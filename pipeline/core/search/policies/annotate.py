"""Completes the prefixes of a stored tree to label them: Math-Shepherd's completer for any policy's trees.

    stored tree, step ends of the chosen trajectories ─► cut at the step ends ─► k completions from each ─► values

    shepherd   from every step end but that of a finished answer, whose value is its verdict     (Wang et al. 2024)
    omega      by binary search for the first wrong step of each failed trajectory: lo (MC > 0) and hi (MC = 0) around
               it, mid = (lo + hi) / 2, until hi = lo + 1; only where 0 < MC(root) < 1             (Luo et al. 2024)

Completions are new leaves of the same tree with the drop reason `annotation`; what the run sampled stays as it was. The
root is completed where its search left no unbiased value of it, and for omega where fewer than k chains stand behind
that: in every problem, chosen trajectories or none, so that pass rates are those of all. Which prefixes are completed
may depend on verdicts, the completions of one do not (core/values/annotated.py).

Degenerate cases: a trajectory of one step gets no completions; a step none of whose completions could be checked ends
its binary search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from berry.pipeline.config.sections.annotation import Annotation
from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Budget, Rollout
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.core.values.annotated import annotated, completions
from berry.pipeline.core.values.estimate import Scheme, Values, estimate, is_known
from berry.pipeline.records import DropReason, Finish, ValueKind

_STEP = Finish.STEP


@dataclass(frozen=True, slots=True)
class Prepared:
    """A stored tree, ready to be completed: how its search drew, and of each chosen trajectory, by its leaf, the token
    offsets in the response at which its steps end, ascending, the last being its length."""

    tree: Tree
    scheme: Scheme
    chosen: Mapping[str, Sequence[int]]


@dataclass(slots=True)
class _FirstErrorSearch:
    """One binary search over the step ends of a failed trajectory: `steps[lo]` is right (-1: the root), `steps[hi]`
    wrong."""

    steps: list[TreeNode]
    lo: int
    hi: int

    @property
    def mid(self) -> TreeNode:
        return self.steps[(self.lo + self.hi) // 2]


class AnnotateSearch(Search[PolicyConfig]):
    """Completes prefixes of a stored tree. It is no policy: `berry annotate` makes it."""

    config = PolicyConfig
    cuts = False

    def __init__(
        self,
        prepared: Prepared,
        rollout: Rollout,
        annotation: Annotation,
        *,
        run_seed: int,
        round_index: int,
        context_len: int,
    ) -> None:
        tree = prepared.tree
        super().__init__(
            tree.problem_id,
            tree.prompt_ids,
            rollout.model_copy(update={"budget": Budget(), "cut": None}),  # those of the search, which is over
            run_seed=run_seed,
            round_index=round_index,
            context_len=context_len,
        )
        self.tree = tree
        self._annotation = annotation
        self._own = prepared.scheme
        self._chosen = prepared.chosen
        self._awaited: dict[str, int] = {}  # node ─► completions that are to come
        self._hunts: list[_FirstErrorSearch] = []
        self._root_known = False  # that 0 < MC(root) < 1

    @classmethod
    def width(cls, policy: PolicyConfig) -> int:
        del policy
        return 1

    @classmethod
    def planned_leaves(cls, policy: PolicyConfig) -> int:
        """None: how many follow depends on the steps of what is stored."""
        del policy
        return 0

    def scheduled(self, node: TreeNode, n: int) -> int:
        """No completion counts among the draws of the search."""
        del node, n
        return 0

    # ---- what is completed ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        k, omega = self._annotation.completions, self._annotation.method == "omega"
        root = estimate(self.tree, self._own)[self.tree.root.node_id]
        steps = {leaf: self._cut_at_steps(self.tree[leaf], ends) for leaf, ends in self._chosen.items()}
        if root.kind is not ValueKind.ESTIMATE or (omega and root.n < k):
            self._complete(self.tree.root)
        else:
            self._root_known = root.value is not None and 0 < root.value < root.mass
        if omega:
            self._hunts = [
                _FirstErrorSearch(nodes, -1, len(nodes) - 1) for leaf, nodes in steps.items() if self._has_failed(leaf)
            ]
            self._search_on()
            return
        for nodes in steps.values():
            for node in nodes:
                if node.finish is _STEP and node.node_id not in self._awaited:
                    self._complete(node)

    def _has_failed(self, leaf: str) -> bool:
        verdict = self.tree[leaf].verdict
        return verdict is not None and is_known(verdict) and not verdict.passed

    def _cut_at_steps(self, leaf: TreeNode, ends: Sequence[int]) -> list[TreeNode]:
        """The nodes on the way to a leaf that end with a step, after cutting those that hold a step's end inside; the
        leaf is the last."""
        for node in self.tree.path(leaf):
            start = node.end - len(node.tokens)
            for piece in self.split(node, [end - start for end in ends if start < end < node.end]):
                self.tree.forget_detail(piece)
        at = set(ends)
        return [node for node in self.tree.path(leaf) if node.end in at or node is leaf]

    def _complete(self, node: TreeNode) -> None:
        """Asks for the completions of a node, behind all its samples."""
        node.next_index = node.scheduled = max((child.index for child in node.children), default=-1) + 1
        self._awaited[node.node_id] = self.grow(node, self._annotation.completions, to_end=True)

    # ---- what comes in ----------------------------------------------------------------------------------------------

    def on_leaf(self, node: TreeNode) -> None:
        unchecked = node.drop is not None
        node.drop = DropReason.ANNOTATION
        if unchecked:
            self._came(node.parent)

    def on_verdict(self, node: TreeNode) -> None:
        self._came(node.parent)

    def on_lost(self, node: TreeNode, count: int) -> None:
        for _ in range(count):
            self._came(node)

    def _came(self, node: TreeNode | None) -> None:
        assert node is not None
        self._awaited[node.node_id] -= 1
        if not self._awaited[node.node_id] and self._annotation.method == "omega":
            if node is self.tree.root:
                rate = self._rate(node)
                self._root_known = rate is not None and 0 < rate < 1
            self._search_on()

    def _rate(self, node: TreeNode) -> float | None:
        """Share of a node's checked completions that passed; None where none could be checked."""
        verdicts = [leaf.verdict for leaf in completions(node) if is_known(leaf.verdict)]
        return sum(verdict.passed for verdict in verdicts if verdict) / len(verdicts) if verdicts else None

    # ---- omega ------------------------------------------------------------------------------------------------------

    def _search_on(self) -> None:
        """Takes each binary search as far as the completions that there are allow."""
        if not self._root_known or self.stopping is not None:
            return
        going: list[_FirstErrorSearch] = []
        for hunt in self._hunts:
            if self._goes_on(hunt):
                going.append(hunt)
        self._hunts = going

    def _goes_on(self, hunt: _FirstErrorSearch) -> bool:
        while hunt.hi - hunt.lo > 1:
            node = hunt.mid
            if node.node_id not in self._awaited:  # a prefix that several trajectories share is completed once
                self._complete(node)
            if self._awaited[node.node_id]:
                return True
            rate = self._rate(node)
            if rate is None:
                return False
            at = hunt.steps.index(node)
            hunt.lo, hunt.hi = (at, hunt.hi) if rate else (hunt.lo, at)
        return False

    # ---- records ----------------------------------------------------------------------------------------------------

    def values(self) -> Values:
        """The values of the tree, those of completed prefixes by their completions alone."""
        return annotated(self.tree, self._own, chosen_by_verdict=self._annotation.chosen_by_verdict)

    def policy_state(self) -> object:
        return (
            sorted(self._awaited.items()),
            [(hunt.steps[-1].node_id, hunt.lo, hunt.hi) for hunt in self._hunts],
            self._root_known,
        )
