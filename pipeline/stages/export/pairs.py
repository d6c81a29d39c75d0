"""Exports preferences between siblings: two whole responses that share a prefix, the better continuation chosen.

    node ─┬─► child a (value .8) ─► … ─► a leaf that passes   = chosen
          └─► child b (value .2) ─► … ─► a leaf that fails    = rejected

Values are the labels of the siblings (core/values). Of one node at most `per_node` pairs are drawn, each as likely as
any other that the filters let through: n siblings have n (n - 1) / 2 pairs, too many to list. Rows are whole responses,
since part of an answer that a chat template closes as a turn would teach the model to stop there; the token layout
masks what the two share.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa

from berry.pipeline.core.labels import only
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.estimate import Value
from berry.pipeline.records import Ending
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.base import (
    VALUES,
    ColumnTypes,
    ExportContext,
    ExportFormat,
    Filters,
    Origin,
    Sampled,
    confidence,
    origin_of,
    sampled_of,
)
from berry.pipeline.stages.export.preferences import text_layout, token_layout
from berry.pipeline.stages.training.step_labels import ending_of


@dataclass(frozen=True, slots=True)
class PairRecord:
    """Two responses that share `shared` tokens, `prefix` as text. `values`: of the two siblings that follow, with the
    `visits` behind them; `certain`: their 95% intervals do not overlap."""

    origin: Origin
    chosen: Sampled
    rejected: Sampled
    shared: int
    prefix: str
    values: tuple[float, float]
    visits: tuple[int, int]
    certain: bool


def records(stored: StoredTree, context: ExportContext) -> Iterator[PairRecord]:
    """Pairs of siblings, parents first."""
    tree, filters = stored.tree, context.filters
    leaves = {row["leaf"]: row for row in stored.trajectories if row["leaf"] in tree}
    for node in tree.walk():
        if len(node.children) < 2:
            continue
        chance = random.Random(f"{stored.problem_id}/{node.node_id}")
        labels = {c.node_id: only(stored.values[c.node_id], filters.kinds) for c in node.children}
        for better, worse in _draw(node.children, labels, filters, chance):
            chosen = _leaf_below(better, leaves, Ending.PASS, chance)
            rejected = _leaf_below(worse, leaves, Ending.WRONG, chance)
            if chosen is None or rejected is None or chosen["response"] == rejected["response"]:
                continue
            a, b = labels[better.node_id], labels[worse.node_id]
            yield PairRecord(
                origin=origin_of(stored, f"{better.node_id}>{worse.node_id}"),
                chosen=sampled_of(stored, chosen),
                rejected=sampled_of(stored, rejected),
                shared=node.end,
                prefix="".join(above.text or "" for above in tree.path(node)),
                values=(_label(a), _label(b)),
                visits=(a.n, b.n),
                certain=a.low > b.high,
            )


def _draw(
    children: Sequence[TreeNode], labels: Mapping[str, Value], filters: Filters, chance: random.Random
) -> list[tuple[TreeNode, TreeNode]]:
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
    pairs: list[tuple[TreeNode, TreeNode]] = []
    for number in sorted(chance.sample(range(total), min(total, filters.per_node))):
        at = bisect_right(ends, number)
        better, worse = ordered[at], ordered[number - (ends[at] - worse_than[at])]
        margin = _label(labels[better.node_id]) - _label(labels[worse.node_id])
        if margin > filters.min_margin:
            pairs.append((better, worse))
    return pairs


def _fits(value: Value, filters: Filters) -> bool:
    if value.label is None or value.n < max(1, filters.min_visits):
        return False
    return confidence(value) >= filters.min_confidence


def _label(value: Value) -> float:
    assert value.label is not None, "only values that fit are paired"
    return value.label


def _leaf_below(node: TreeNode, leaves: Mapping[str, Row], outcome: Ending, chance: random.Random) -> Row | None:
    """A trajectory through `node` that came out so, drawn at random."""
    found: list[Row] = []
    stack = [node]
    while stack:
        at = stack.pop()
        row = leaves.get(at.node_id)
        if row is not None and ending_of(row) is outcome and row["response"]:
            found.append(row)
        stack.extend(reversed(at.children))
    return chance.choice(found) if found else None


_COLUMNS: ColumnTypes = (
    ("prefix", pa.string()),
    ("score_chosen", pa.float64()),
    ("score_rejected", pa.float64()),
    ("visits_chosen", pa.int32()),
    ("visits_rejected", pa.int32()),
    ("certain", pa.bool_()),
)


def _columns(r: PairRecord) -> Row:
    return {
        "prefix": r.prefix,
        "score_chosen": r.values[0],
        "score_rejected": r.values[1],
        "visits_chosen": r.visits[0],
        "visits_rejected": r.visits[1],
        "certain": r.certain,
    }


_LAYOUT = text_layout(_COLUMNS, _columns)
PAIRS = ExportFormat(
    records,
    {"trl": _LAYOUT, "openrlhf": _LAYOUT},
    nothing="no two siblings differ in value by as much as the filters ask for: lower them, or grow trees that "
    "branch (policy best_of_n has siblings at the first step alone)",
    needs_labels=True,
    tokens=token_layout(_COLUMNS, _columns),
    sampled=lambda r: [r.chosen, r.rejected],
    labels="Both responses share a prefix, and the chosen one goes on by the sibling of higher value; it passed, the "
    f"rejected one failed. {VALUES}",
)
