"""Stores an evaluation: eval.parquet, one row a benchmark, difficulty, method and budget; and a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline.stages.evaluation.curves import ALL, CurvePoint
from berry.pipeline.storage.files import Location

NAME = "eval.parquet"
_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
SCHEMA = pa.schema([pa.field(f.name, _TYPES[str(f.type).split(" ")[0]]) for f in fields(CurvePoint)])


def write(location: Location, points: Sequence[CurvePoint]) -> None:
    """Replaces the file whole."""
    table = pa.Table.from_pylist([asdict(point) for point in points], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    location.put(NAME, sink.getvalue())


def markdown(points: Sequence[CurvePoint]) -> str:
    """A table a benchmark: methods down, budgets across, accuracy with its 95% interval in percent."""
    lines: list[str] = []
    shown = [p for p in points if p.difficulty == ALL]
    for benchmark in sorted({p.benchmark for p in shown}):
        here = [p for p in shown if p.benchmark == benchmark]
        budgets = sorted({p.budget for p in here})
        lines += [f"### {benchmark} ({max(p.problems for p in here)} problems)", ""]
        lines += ["| method | " + " | ".join(f"{n}" for n in budgets) + " |", "|---|" + "---|" * len(budgets)]
        for method in dict.fromkeys(p.method for p in here):
            cells = {p.budget: cell(p) for p in here if p.method == method}
            lines.append(f"| {method} | " + " | ".join(cells.get(n, "") for n in budgets) + " |")
        lines.append("")
    return "\n".join(lines)


def cell(point: CurvePoint) -> str:
    """An accuracy for a table, as in `71.2 (66.0–76.1)`; where answers could not be checked, with the range that they
    leave open."""
    text = f"{100 * point.accuracy:.1f}"
    if point.low is not None and point.high is not None:
        text += f" ({100 * point.low:.1f}–{100 * point.high:.1f})"
    if point.unchecked_high - point.unchecked_low > 5e-4:
        text += f" [unchecked: {100 * point.unchecked_low:.1f}–{100 * point.unchecked_high:.1f}]"
    return text
