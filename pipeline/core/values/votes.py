"""What the leaves of a tree weigh where they vote on an answer, and which independent chain each belongs to.

    weight(leaf) = product, from the root to the leaf, of w_c / b        b: children sampled from the parent of c

w_c undoes cuts (estimate.py), so that the weighted share of an answer among all leaves is what it is among independent
samples, however unevenly the tree was forked. Where forks are no further draws for what lies above (`Heads.FORKS`,
`Heads.OWN`), they have no vote: a segment votes by its own end. Completions that label prefixes, and samples that a
verdict may have asked for, have none either.

The children of the root are the independent chains. Leaves of one chain share its beginning, and with it its errors:
many leaves of few chains agree without being right (self-consistency, Wang et al. 2022, draws all from the prompt).
"""

from __future__ import annotations

from msgspec import Struct

from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.core.values.estimate import Heads


class Vote(Struct, frozen=True, gc=False):
    """A leaf's vote: its weight, and the child of the root through which it goes."""

    weight: float
    chain: str


def votes(tree: Tree, heads: Heads = Heads.ALL) -> dict[str, Vote]:
    """The vote of each leaf, by node id; the weights of a tree that gave nothing up sum to 1."""
    found: dict[str, Vote] = {}
    stack: list[tuple[TreeNode, float, str]] = [(tree.root, 1.0, "")]
    while stack:
        node, weight, chain = stack.pop()
        if not node.children:
            found[node.node_id] = Vote(weight, chain)
            continue
        forked = heads is not Heads.ALL and node.children[0].index < 0
        drawn = 1 if forked else sum(child.weight is not None for child in node.children)
        for child in node.children:
            counts = child.index < 0 if forked else child.weight is not None
            share = (child.weight or 0.0) / drawn if counts else 0.0
            stack.append((child, weight * share, chain or child.node_id))
    return found
