"""Stores an evaluation: eval.parquet, one row a benchmark, difficulty, method and budget; and a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

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


@dataclass(frozen=True, slots=True)
class BudgetTable:
    """One benchmark: by method its accuracy at each of `budgets`, as text, empty where it has none."""

    benchmark: str
    problems: int
    budgets: list[int]
    rows: dict[str, list[str]]


def by_budget(points: Sequence[CurvePoint]) -> Iterator[BudgetTable]:
    """A table a benchmark, of all its problems together."""
    shown = [p for p in points if p.difficulty == ALL]
    for benchmark in sorted({p.benchmark for p in shown}):
        here = [p for p in shown if p.benchmark == benchmark]
        budgets = sorted({p.budget for p in here})
        cells = {(p.method, p.budget): cell(p) for p in here}
        methods = dict.fromkeys(p.method for p in here)
        rows = {method: [cells.get((method, n), "") for n in budgets] for method in methods}
        yield BudgetTable(benchmark, max(p.problems for p in here), budgets, rows)


def markdown(points: Sequence[CurvePoint]) -> str:
    """A table a benchmark: methods down, budgets across, accuracy with its 95% interval in percent."""
    lines: list[str] = []
    for table in by_budget(points):
        lines += [f"### {table.benchmark} ({table.problems} problems)", ""]
        lines += ["| method | " + " | ".join(map(str, table.budgets)) + " |", "|---|" + "---|" * len(table.budgets)]
        lines += [f"| {method} | " + " | ".join(cells) + " |" for method, cells in table.rows.items()]
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
