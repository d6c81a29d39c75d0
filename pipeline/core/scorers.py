"""Scorers that need no model: values in [0, 1] of a prefix from what the tree knows already.

    `logprob`    exp(mean log-probability of the response so far): how fluent the model finds itself
    `verified`   (passed + 1) / (checked + 2) over the verified leaves below, its nearest relatives if there are none

The runtime answers `Score(node, model="logprob")` and `model="verified"` with these; other names go to value models.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp

from berry.pipeline.core.tree import Tree
from berry.pipeline.core.values.counts import Counts, leaf_counts


def path_logprob(tree: Tree, node_id: str) -> float | None:
    """Log-probability of the response up to and with the node, in nats; None if the engine gave none."""
    total = 0.0
    at = tree[node_id]
    if not at.end:
        return None
    while at.parent is not None:
        if at.logprob_sum is None:
            return None
        total += at.logprob_sum
        at = at.parent
    return total


def mean_probability(logprob_sum: float, tokens: int) -> float:
    """Geometric mean of the probabilities of `tokens` tokens, in (0, 1], from the sum of their logarithms in nats."""
    return exp(logprob_sum / tokens)


def logprob(tree: Tree, node_id: str) -> float | None:
    """Mean probability of the response's tokens; None if the engine gave no log-probabilities."""
    total = path_logprob(tree, node_id)
    return None if total is None else mean_probability(total, tree[node_id].end)


def verified(tree: Tree, node_id: str) -> float | None:
    """Mean of the posterior of the pass rate below the node, or below its nearest ancestor with a verdict (a flat prior
    pulls few verdicts towards 1/2); None before the first verdict."""
    at = tree[node_id]
    while True:
        counts = sum((leaf_counts(node) for node in tree.walk(at)), Counts())
        if counts.checked:
            return (counts.passed + 1) / (counts.checked + 2)
        if at.parent is None:
            return None
        at = at.parent


SCORERS: dict[str, Callable[[Tree, str], float | None]] = {"logprob": logprob, "verified": verified}
