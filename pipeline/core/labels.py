"""Training labels from a finished tree.

    tree, leaf, step ends ─► step_labels (soft, hard, visits, interval) ─► first_error
    tree ─► preferences (siblings of one prefix, the better and the worse)

A step's label is that of the prefix ending with it. Every leaf that shares this prefix runs through the node that holds
the step's last token, so the label is that node's value, whether the policy grew whole chains or one step a node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.core.values.counts import Counts, direct, pooled


@dataclass(frozen=True, slots=True)
class StepLabel:
    """Value of the prefix of `end` response tokens. `soft` and `hard` are None where nothing below was checked; `low`
    and `high` bound the value at 95% (Wilson); `visits` verified leaves stand behind it."""

    end: int
    soft: float | None
    hard: bool | None
    visits: int
    low: float
    high: float


def step_labels(
    tree: Tree,
    leaf: str,
    ends: Sequence[int],
    *,
    method: Literal["pooled", "direct"] = "pooled",
    counts: Mapping[str, Counts] | None = None,
) -> list[StepLabel]:
    """One label for each step of the response at `leaf`; `ends` are the steps' token offsets (`steps.step_ends`).

    `pooled` takes every verified leaf below (design, section 5); `direct` only samples drawn no later than the prefix,
    which is Math-Shepherd's estimate and unbiased. `counts` saves recomputing `backup.pooled` for each leaf.
    """
    path = tree.path(tree[leaf])
    counts = counts if counts is not None or method == "direct" else pooled(tree)
    labels: list[StepLabel] = []
    at = 0
    for end in ends:
        while path[at].end < end:
            at += 1
        count = direct(path[at]) if counts is None else counts[path[at].node_id]
        low, high = count.interval
        labels.append(StepLabel(end, count.soft, count.hard, count.checked, low, high))
    return labels


def first_error(labels: Sequence[StepLabel]) -> int | None:
    """Index of the first step from which no checked continuation passes; None if there is none. With binary search
    (OmegaPRM) and with completions from each step (Math-Shepherd) alike."""
    return next((i for i, label in enumerate(labels) if label.hard is False), None)


@dataclass(frozen=True, slots=True)
class Preference:
    """Two continuations of one prefix. `prefix`, `chosen` and `rejected` are node ids; `margin` is the difference of
    their soft values; `certain` if their 95% intervals do not overlap."""

    prefix: str
    chosen: str
    rejected: str
    margin: float
    visits: tuple[int, int]
    certain: bool


def preferences(
    tree: Tree, *, min_margin: float = 0.0, min_visits: int = 1, per_node: int | None = None
) -> list[Preference]:
    """Sibling pairs whose values differ by more than `min_margin`, parents first; of each node the `per_node` pairs of
    widest margin. Siblings that both pass or both fail give none."""
    counts = pooled(tree)
    return [
        pair
        for node in tree.walk()
        for pair in sorted(_pairs(node, counts, min_margin, min_visits), key=_widest_first)[:per_node]
    ]


def _pairs(node: TreeNode, counts: Mapping[str, Counts], min_margin: float, min_visits: int) -> Iterator[Preference]:
    ordered = sorted(node.children, key=lambda child: (child.index, child.node_id))
    valued = [child for child in ordered if counts[child.node_id].checked >= max(1, min_visits)]
    for a, b in combinations(valued, 2):
        better, worse = (a, b) if _soft(a, counts) >= _soft(b, counts) else (b, a)
        margin = _soft(better, counts) - _soft(worse, counts)
        if margin > min_margin:
            best, least = counts[better.node_id], counts[worse.node_id]
            yield Preference(
                prefix=node.node_id,
                chosen=better.node_id,
                rejected=worse.node_id,
                margin=margin,
                visits=(best.checked, least.checked),
                certain=best.interval[0] > least.interval[1],
            )


def _soft(node: TreeNode, counts: Mapping[str, Counts]) -> float:
    count = counts[node.node_id]
    return count.passed / count.checked


def _widest_first(pair: Preference) -> tuple[float, str, str]:
    return -pair.margin, pair.chosen, pair.rejected
