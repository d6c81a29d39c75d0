"""Takes training labels from a finished tree.

    tree, leaf, step ends, values ─► step_labels (value, interval, count, kind) ─► first_error
    tree, values ─► preferences (siblings of one prefix, the better and the worse)

A step's label is the value of the prefix ending with it (core/values). Where a step ends with a node it is the node's;
where it ends inside one, it is the result of that segment, with one continuation behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.core.values.estimate import Value, Values
from berry.pipeline.records import ValueKind

LABELS: tuple[ValueKind, ...] = (ValueKind.ESTIMATE,)  # what is a label unless another kind is asked for by name


def step_labels(
    tree: Tree, leaf: str, ends: Sequence[int], values: Values, *, kinds: Sequence[ValueKind] = LABELS
) -> list[Value]:
    """The value of each of the prefixes that end `ends` tokens after the prompt on the path to `leaf` (ascending;
    `steps.step_ends` finds them). What is not of one of the `kinds` has no value, its kind says why."""
    path = tree.path(tree[leaf])
    labels: list[Value] = []
    at = 0
    for end in ends:
        while path[at].end < end:
            at += 1
        node_id = path[at].node_id
        labels.append(only(values[node_id] if path[at].end == end else values.inside(node_id), kinds))
    return labels


def only(value: Value, kinds: Sequence[ValueKind]) -> Value:
    """`value`, or one that is null and of the same kind where the kind is not among those wanted."""
    if value.value is None or value.kind in kinds:
        return value
    return Value(kind=value.kind, reached=value.reached)


def first_error(labels: Sequence[Value]) -> int | None:
    """Index of the first step from which no checked continuation passed; None if there is none. With binary search
    (OmegaPRM) and with completions from each step (Math-Shepherd) alike."""
    return next((i for i, label in enumerate(labels) if label.reached is False), None)


@dataclass(frozen=True, slots=True)
class SiblingPreference:
    """Two continuations of one prefix. `prefix`, `chosen` and `rejected` are node ids; `margin` is the difference of
    their labels; `n` the continuations behind them; `certain` if their 95% intervals do not overlap."""

    prefix: str
    chosen: str
    rejected: str
    margin: float
    n: tuple[int, int]
    certain: bool


def preferences(
    tree: Tree,
    values: Values,
    *,
    min_margin: float = 0.0,
    min_n: int = 1,
    per_node: int | None = None,
    kinds: Sequence[ValueKind] = LABELS,
) -> list[SiblingPreference]:
    """Sibling pairs whose labels differ by more than `min_margin`, parents first; of each node the `per_node` pairs of
    widest margin. Siblings that both pass or both fail give none."""
    labels = {node.node_id: only(values[node.node_id], kinds) for node in tree.walk()}
    return [
        pair
        for node in tree.walk()
        for pair in sorted(_pairs(node, labels, min_margin, min_n), key=_widest_first)[:per_node]
    ]


def _pairs(node: TreeNode, labels: dict[str, Value], min_margin: float, min_n: int) -> Iterator[SiblingPreference]:
    ordered = sorted(node.children, key=lambda child: (child.index, child.node_id))
    known = [
        (child.node_id, label, value)
        for child in ordered
        if (value := (label := labels[child.node_id]).label) is not None and label.n >= max(1, min_n)
    ]
    for a, b in combinations(known, 2):
        (chosen, best, high), (rejected, least, low) = (a, b) if a[2] >= b[2] else (b, a)
        if high - low > min_margin:
            certain = best.low > least.high
            yield SiblingPreference(node.node_id, chosen, rejected, high - low, (best.n, least.n), certain)


def _widest_first(pair: SiblingPreference) -> tuple[float, str, str]:
    return -pair.margin, pair.chosen, pair.rejected
