"""Estimates the chance that one of k independent chains passes, from a problem's tree.

    pass@k = 1 - E over k-subsets S of the root's b children of  prod over c in S of (1 - w_c · V(c))
           = 1 - e_k(x_1 … x_b) / C(b, k)             x_c = 1 - w_c · V(c),  e_k: elementary symmetric polynomial

The children of the root are independent draws of the policy; k of them without replacement are k independent chains.
V(c) is an unbiased estimate of the value of child c from what was sampled below it, independent of the others', and
w_c undoes cuts (estimate.py), so that the product is unbiased, and with it the mean over subsets. pass@1 is the value
of the root. Where each child is a single checked chain it is 1 - C(b - passed, k) / C(b, k) (Chen et al. 2021, eq. 1).
Like the values it may leave [0, 1] for one problem where branches were spared; the mean over problems is what to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from berry.pipeline.core.tree_view import TreeView
from berry.pipeline.core.values import stopped
from berry.pipeline.core.values.annotated import completions
from berry.pipeline.core.values.estimate import Values, is_known
from berry.pipeline.core.values.stopped import Ends
from berry.pipeline.records import ValueKind


def pass_at_k(chains: Sequence[float], k: int, ends: Ends | None = None) -> float | None:
    """`chains`: w_c · V(c) of each child of the root, in the order of the draws; None where there are fewer than `k`.
    `ends`: the rule by which verdicts ended them, if any did (stopped.py)."""
    if ends is not None:
        return stopped.pass_at_k([chain > 0 for chain in chains], k, ends)
    if not 1 <= k <= len(chains):
        return None
    sums = [1.0] + [0.0] * k  # e_0 … e_k of the children so far
    for chain in chains:
        for j in range(k, 0, -1):
            sums[j] += sums[j - 1] * (1.0 - chain)
    return 1.0 - sums[k] / comb(len(chains), k)


def chains_of(tree: TreeView, values: Values) -> list[float] | None:
    """The weighted values of the root's scheduled children in the order of the draws, those of which nothing is known,
    or that came after a stop, left out. None where the root has no unbiased value. Where the root was completed to
    label it (annotated.py) the completions are the chains."""
    root = values[tree.root.node_id]
    instead = completions(tree.root)
    if instead:
        return [
            float(verdict.passed) for leaf in instead if (verdict := leaf.verdict) is not None and is_known(verdict)
        ]
    if root.kind is not ValueKind.ESTIMATE:
        return None
    drawn = sorted(tree.root.children, key=lambda child: child.index)
    return [chain for node in drawn if (chain := _chain(node.weight, node.node_id, values)) is not None]


def _chain(weight: float | None, node_id: str, values: Values) -> float | None:
    if weight is None:
        return None
    up = values.found[node_id][1]
    if not weight:
        return 0.0
    return None if up is None else weight * up.value
