"""Says what each leaf of a tree weighs among all continuations of the prompt: the draws of the generator, cuts undone.

    weight(leaf) = product, from the root to the leaf, of w_c / b        b: children sampled from the parent of c

w_c undoes cuts (estimate.py): 1 for most, 0 for a branch given up, 1/share for one spared at random in its stead
(Horvitz and Thompson 1952). The weights of a tree sum to 1 in expectation, so that a weighted sum over its leaves is in
the mean what it is over independent samples, however unevenly the tree was forked or cut. Where forks are no further
draws for what lies above (`Heads.FORKS`, `Heads.OWN`), they weigh nothing: a segment counts by its own end. Nor do
completions that label prefixes, and samples that a verdict may have asked for.
"""

from __future__ import annotations

from berry.pipeline.core.tree_view import NodeView, TreeView
from berry.pipeline.core.values.estimate import Heads


def leaf_weights(tree: TreeView, heads: Heads = Heads.ALL) -> dict[str, float]:
    """By node id of each leaf. What a weighted sum needs; an election, held once, goes by `votes`."""
    found: dict[str, float] = {}
    stack: list[tuple[NodeView, float]] = [(tree.root, 1.0)]
    while stack:
        node, weight = stack.pop()
        if not node.children:
            found[node.node_id] = weight
            continue
        if node.children[0].given is not None:  # what a tool said is drawn by nobody
            stack.append((node.children[0], weight))
            continue
        forked = heads is not Heads.ALL and node.children[0].index < 0
        drawn = 1 if forked else sum(child.weight is not None for child in node.children)
        for child in node.children:
            counts = child.index < 0 if forked else child.weight is not None
            stack.append((child, weight * (child.weight or 0.0) / drawn if counts else 0.0))
    return found
