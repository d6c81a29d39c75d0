"""Says what the leaves of a tree weigh where they vote on an answer, and which independent chain each belongs to.

    weight(leaf) = product, from the root to the leaf, of 1 / b      b: siblings that have a vote, or one below them

Each fork shares its vote out equally, so that no chain has more for being forked more. Branches that the search gave up
have no vote, nor have those that it spared at random in their stead: those stand for twenty each in values
(estimate.py), where the mean over problems undoes the luck of the draw, but an election is held once. So where a search
gives nothing up, the weighted share of an answer is what it is among independent samples of the generator; where it
ranks or cuts, what it is among answers of the search, guided by its scorer.

Where forks are no further draws for what lies above (`Heads.FORKS`, `Heads.OWN`), they have no vote: a segment votes by
its own end. Completions that label prefixes, and samples that a verdict may have asked for, have none either.

The children of the root are the independent chains. Leaves of one chain share its beginning, and with it its errors:
many leaves of few chains agree without being right (self-consistency, Wang et al. 2022, draws all from the prompt).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from berry.pipeline.core.tree_view import NodeView, TreeView
from berry.pipeline.core.values.estimate import Heads


class Vote(Struct, frozen=True, gc=False):
    """A leaf's vote: its weight, and the child of the root through which it goes."""

    weight: float
    chain: str


def votes(tree: TreeView, heads: Heads = Heads.ALL) -> dict[str, Vote]:
    """The vote of each leaf, by node id. Weights sum to 1, or are all 0 where the search gave up every branch."""
    electors = _electors(tree, heads)
    found: dict[str, Vote] = {}
    stack: list[tuple[NodeView, float, str]] = [(tree.root, 1.0, "")]
    while stack:
        node, weight, chain = stack.pop()
        if not node.children:
            found[node.node_id] = Vote(weight, chain)
            continue
        elect = [child for child in node.children if child.node_id in electors]
        for child in node.children:
            share = weight / len(elect) if child.node_id in electors else 0.0
            stack.append((child, share, chain or child.node_id))
    return found


def _electors(tree: TreeView, heads: Heads) -> set[str]:
    """Nodes that were drawn by the schedule, and that the search goes through to some leaf without giving up."""
    found: set[str] = set()
    for node in reversed(list(tree.walk())):
        ends_in_one = not node.children or any(child.node_id in found for child in node.children)
        if ends_in_one and node.parent is not None and _counts(node, node.parent.children, heads):
            found.add(node.node_id)
    return found


def _counts(node: NodeView, siblings: Sequence[NodeView], heads: Heads) -> bool:
    """Whether a node is a draw of the search for what lies above it, neither given up nor spared."""
    return node.weight == 1.0 and (node.index < 0 or heads is Heads.ALL or siblings[0].index >= 0)
