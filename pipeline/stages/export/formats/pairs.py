"""Exports preferences between siblings: two whole responses that share a prefix, the better continuation chosen.

    node ─┬─► child a (value .8) ─► … ─► a leaf that passes   = chosen
          └─► child b (value .2) ─► … ─► a leaf that fails    = rejected

Pairs are drawn by `stages.training.sibling_pairs`. Rows are whole responses, since part of an answer that a chat
template closes as a turn would teach the model to stop there; the token layout masks what the two share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.base import (
    VALUES,
    ColumnTypes,
    ExportContext,
    ExportFormat,
    Origin,
    Sampled,
    origin_of,
    sampled_of,
)
from berry.pipeline.stages.export.formats.preferences import text_layout, token_layout
from berry.pipeline.stages.training.sibling_pairs import draw_pairs


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
    for pair in draw_pairs(stored, context.filters):
        a, b = pair.labels
        assert a.label is not None and b.label is not None, "only values that fit are paired"  # noqa: PT018
        yield PairRecord(
            origin=origin_of(stored, f"{pair.better.node_id}>{pair.worse.node_id}"),
            chosen=sampled_of(stored, pair.chosen),
            rejected=sampled_of(stored, pair.rejected),
            shared=pair.parent.end,
            prefix="".join(above.text or "" for above in stored.tree.path(pair.parent)),
            values=(a.label, b.label),
            visits=(a.n, b.n),
            certain=a.low > b.high,
        )


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
