"""Values of nodes from the verdicts of the leaves below them.

    verdicts ─► Counts(passed, checked) a node ─► soft, hard, interval

soft = passed / checked, hard = passed > 0: over *verified* leaves. A leaf that could not be checked counts in
neither, and a node without any checked leaf has no value: unknown is not wrong.
"""

from __future__ import annotations

from msgspec import Struct

from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.core.values.intervals import wilson
from berry.verifiers.base import Outcome


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

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.passed, self.checked)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.checked + other.checked)


_UNKNOWN, _FAILED, _PASSED = Counts(), Counts(0, 1), Counts(1, 1)
_UNVERIFIABLE = Outcome.UNVERIFIABLE


def leaf_counts(node: TreeNode) -> Counts:
    """What one leaf's own verdict adds."""
    verdict = node.verdict
    if verdict is None or verdict.outcome is _UNVERIFIABLE:
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


def direct(node: TreeNode) -> Counts:
    """Counts over the samples that were drawn no later than `node`'s end and run through it: leaves of forks
    further down are left out. Where samples run to the end of the answer these are independent draws of the
    policy from this prefix, so the share is an unbiased, binomial estimate of its value, which `pooled` is
    not once the deeper prefixes have been forked unevenly."""
    counts = leaf_counts(node)
    stack = [(child, child.origin) for child in node.children]
    while stack:
        at, origin = stack.pop()
        counts += leaf_counts(at)
        stack.extend((child, origin) for child in at.children if child.origin == origin)
    return counts
