"""Counts plain shares of the verified leaves below a node: what in-loop scorers look at, and what earlier versions
stored.

    verdicts ─► Counts(passed, checked) a node ─► soft, hard

They are no estimates of a node's value where a tree was forked unevenly or cut (estimate.py). A leaf that could not be
checked, or gave no answer, counts in neither: unknown is not wrong.
"""

from __future__ import annotations

from msgspec import Struct

from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.core.values.estimate import is_known


class Counts(Struct, frozen=True, gc=False):
    """Verified leaves: how many passed, how many were checked."""

    passed: int = 0
    checked: int = 0

    @property
    def soft(self) -> float | None:
        """Monte-Carlo value in [0, 1] (Math-Shepherd, Wang et al. 2024, eq. 4); None if nothing was
        checked."""
        return self.passed / self.checked if self.checked else None

    @property
    def hard(self) -> bool | None:
        """Whether any leaf passed (Math-Shepherd, eq. 3); None if nothing was checked."""
        return self.passed > 0 if self.checked else None

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.checked + other.checked)


_UNKNOWN, _FAILED, _PASSED = Counts(), Counts(0, 1), Counts(1, 1)


def leaf_counts(node: TreeNode) -> Counts:
    """What one leaf's own verdict adds."""
    verdict = node.verdict
    if verdict is None or not is_known(verdict):
        return _UNKNOWN
    return _PASSED if verdict.passed else _FAILED


def pooled(tree: Tree) -> dict[str, Counts]:
    """For every node, the counts over all verified leaves below (design, section 5)."""
    counts: dict[str, Counts] = {}
    for node in reversed(list(tree.walk())):
        own = leaf_counts(node)
        if node.children:
            below = [counts[child.node_id] for child in node.children]
            passed = own.passed + sum([count.passed for count in below])
            own = Counts(passed, own.checked + sum([count.checked for count in below]))
        counts[node.node_id] = own
    return counts
