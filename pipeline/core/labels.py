"""Takes training labels from a finished tree.

    tree, leaf, step ends, values ─► step_labels (value, interval, count, kind)

A step's label is the value of the prefix ending with it (core/values). Where a step ends with a node it is the node's;
where it ends inside one, it is the result of that segment, with one continuation behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from berry.pipeline.core.tree import Tree
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
