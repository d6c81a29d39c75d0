"""Draws pairs of siblings of a stored tree, the better continuation first, with a whole response through each.

    node ─┬─► child a (value .8) ─► … ─► a leaf that passes   = chosen
          └─► child b (value .2) ─► … ─► a leaf that fails    = rejected

Values are the labels of the siblings (core/values). Of one node at most `per_node` pairs are drawn, each as likely as
any other that the filters let through: n siblings have n (n - 1) / 2 pairs, too many to list.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from berry.pipeline.core.labels import LABELS, is_sure, only
from berry.pipeline.core.values.estimate import Value
from berry.pipeline.records import DropReason, Ending, ValueKind, ending
from berry.pipeline.stages.dataset.read_tree import ReadNode
from berry.pipeline.stages.dataset.reading import StoredTree


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFilters:
    """`min_visits`: independent continuations behind a sibling's value; `min_confidence`: one minus the width of its
    95% interval, in [0, 1]; `min_margin`: between siblings; `certain`: their intervals must not overlap; `per_node`:
    most pairs of siblings below one node, drawn at random; `kinds`: of the values that are labels."""

    min_visits: int = 1
    min_confidence: float = 0.0
    min_margin: float = 0.0
    certain: bool = False
    per_node: int = 16
    kinds: tuple[ValueKind, ...] = LABELS


@dataclass(frozen=True, slots=True)
class DrawnPair:
    """Two siblings below `parent` with their labels, and the leaf of a trajectory through each."""

    parent: ReadNode
    better: ReadNode
    worse: ReadNode
    labels: tuple[Value, Value]
    chosen: str
    rejected: str


def draw_pairs(stored: StoredTree, filters: PairFilters) -> Iterator[DrawnPair]:
    """Pairs of siblings, parents first."""
    for node in stored.tree.walk():
        if len(node.children) < 2:
            continue
        chance = random.Random(f"{stored.problem_id}/{node.node_id}")
        labels = {c.node_id: only(stored.values[c.node_id], filters.kinds) for c in node.children}
        for better, worse in _draw(node.children, labels, filters, chance):
            chosen = _leaf_below(stored, better, Ending.PASS, chance)
            rejected = _leaf_below(stored, worse, Ending.WRONG, chance)
            if chosen is None or rejected is None or stored.response(chosen) == stored.response(rejected):
                continue
            yield DrawnPair(node, better, worse, (labels[better.node_id], labels[worse.node_id]), chosen, rejected)


def _draw(
    children: Sequence[ReadNode], labels: Mapping[str, Value], filters: PairFilters, chance: random.Random
) -> list[tuple[ReadNode, ReadNode]]:
    """At most `per_node` pairs (better, worse), drawn without replacement from all that fit, in n log n steps.

    Sorted by the bound that decides, what a child is better than are the first so many: a pair is a number below their
    sum, and numbers can be drawn without listing them.
    """
    fit = [c for c in children if _fits(labels[c.node_id], filters)]
    if filters.certain:
        keys = {c.node_id: labels[c.node_id].high for c in fit}
        bounds = {c.node_id: labels[c.node_id].low for c in fit}
    else:
        keys = {c.node_id: _label(labels[c.node_id]) for c in fit}
        bounds = {c.node_id: _label(labels[c.node_id]) - filters.min_margin for c in fit}
    ordered = sorted(fit, key=lambda c: (keys[c.node_id], c.index, c.node_id))
    sorted_keys = [keys[c.node_id] for c in ordered]
    worse_than = [bisect_left(sorted_keys, bounds[c.node_id] - 1e-12) for c in ordered]
    ends = list(accumulate(worse_than))
    total = ends[-1] if ends else 0
    pairs: list[tuple[ReadNode, ReadNode]] = []
    for number in sorted(chance.sample(range(total), min(total, filters.per_node))):
        at = bisect_right(ends, number)
        better, worse = ordered[at], ordered[number - (ends[at] - worse_than[at])]
        margin = _label(labels[better.node_id]) - _label(labels[worse.node_id])
        if margin > filters.min_margin:
            pairs.append((better, worse))
    return pairs


def _fits(value: Value, filters: PairFilters) -> bool:
    return value.label is not None and is_sure(value, filters.min_visits, filters.min_confidence)


def _label(value: Value) -> float:
    assert value.label is not None, "only values that fit are paired"
    return value.label


def _leaf_below(stored: StoredTree, node: ReadNode, outcome: Ending, chance: random.Random) -> str | None:
    """The leaf of a trajectory through `node` that came out so and has a text, drawn at random."""
    found: list[str] = []
    stack = [node]
    while stack:
        at = stack.pop()
        if _ending(at) is outcome and stored.response(at.node_id):
            found.append(at.node_id)
        stack.extend(reversed(at.children))
    return chance.choice(found) if found else None


def _ending(leaf: ReadNode) -> Ending | None:
    """None of what is no leaf of the search."""
    if leaf.verdict is None or leaf.drop is DropReason.ANNOTATION:
        return None
    return ending(leaf.verdict.outcome, leaf.verdict.reason, leaf.finish)
