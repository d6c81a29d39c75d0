"""Takes training labels from a finished tree.

    tree, leaf, step ends, values ─► step_labels (value, interval, count, kind)

A step's label is the value of the prefix ending with it (core/values). Where a step ends with a node it is the node's;
where it ends inside one, it is the result of that segment, with one continuation behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from berry.pipeline.core.tree_view import TreeView
from berry.pipeline.core.values.estimate import Value, Values
from berry.pipeline.records import ValueKind

LABELS: tuple[ValueKind, ...] = (ValueKind.ESTIMATE,)  # what is a label unless another kind is asked for by name


def step_labels(
    tree: TreeView, leaf: str, ends: Sequence[int], values: Values, *, kinds: Sequence[ValueKind] = LABELS
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


def is_sure(value: Value, min_visits: int, min_confidence: float) -> bool:
    """Whether so many independent continuations, and so narrow an interval, stand behind a value: one minus the width
    of its 95% interval is at least `min_confidence`, in [0, 1].

    How many independent continuations there are is known before what they say only where nothing was cut: else it says
    how good they looked, and what passes a threshold is too high (`is_of_cuts`; docs/labels.md). Confidence favours
    values near 0 and 1, whose intervals are narrower.
    """
    return value.n >= min_visits and value.confidence >= min_confidence


def is_of_cuts(value: Value) -> bool:
    """Whether branches below were given up or spared, so that labels are right only all together, by their masses."""
    return value.kind is ValueKind.ESTIMATE and value.mass not in (0.0, 1.0)
