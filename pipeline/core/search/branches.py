"""Keeps what became of a search's branches: cut, spared from a cut, or given up by the policy and finished without it.

What continues a branch belongs where the branch does. A branch that is given up weighs nothing, or, where it was drawn
to be spared with the chance p, one over p (core/values): so that in the mean nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable

from berry.pipeline.core import seeds
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.records import DropReason


class Branches:
    """The nodes that a cut ended (`cut`), those that no cut may end any more (`spared`), and those that the policy gave
    up and that are finished without it (`apart`), by id. `none_spared`: a branch that should have been spared could not
    be grown."""

    __slots__ = ("_place", "apart", "cut", "none_spared", "spared")

    def __init__(self, run_seed: int, round_index: int, problem_id: str) -> None:
        self._place = (run_seed, round_index, problem_id)
        self.cut: set[str] = set()
        self.spared: set[str] = set()
        self.apart: set[str] = set()
        self.none_spared = False

    def is_apart(self, parent: TreeNode | None) -> bool:
        """Whether what was sampled behind `parent` is none of the policy's."""
        return bool(self.apart) and parent is not None and parent.node_id in self.apart

    def add_sampled(self, node_id: str, parent_id: str) -> bool:
        """Takes a new segment to where its parent is; whether it was spared."""
        if self.cut and parent_id in self.cut:
            self.cut.add(node_id)
        if self.spared and parent_id in self.spared:
            self.spared.add(node_id)
            return True
        return False

    def add_given(self, node_id: str, parent_id: str) -> None:
        """Takes a given node to where the call above it is."""
        for marked in (self.cut, self.spared, self.apart):
            if parent_id in marked:
                marked.add(node_id)

    def add_pieces(self, pieces: Iterable[TreeNode], above: TreeNode | None) -> None:
        """Takes the pieces of a segment that was cut in two to where the node above them is."""
        if self.spared and above is not None and above.node_id in self.spared:
            self.spared.update(piece.node_id for piece in pieces)

    def is_spared(self, tree: Tree, node: TreeNode, share: float) -> bool:
        """Whether a branch that is to be given up goes on: it was spared before, or is now, by a draw that depends on
        its place alone. No branch is drawn for twice."""
        if node.node_id in self.spared:
            return True
        if not share or seeds.share("spare", *self._place, node.node_id) >= share:
            return False
        if node.weight is not None:
            node.weight /= share
        self.spared.update(below.node_id for below in tree.walk(node))
        return True

    @staticmethod
    def drop(node: TreeNode) -> None:
        """Marks a branch that is grown no further: what would have come of it weighs nothing."""
        node.drop = node.tip.drop = DropReason.CUT_IN_LOOP
        if node.weight is not None:
            node.weight = 0.0
