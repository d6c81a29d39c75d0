"""Writes the rows of one file, Parquet or JSON lines, aside until the file is whole.

Rows are gathered until they are many or large, so that a file of any length takes the memory of one batch.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.base import Layout
from berry.pipeline.storage.parquet.list_columns import NUMBERS, NumberLists, ends_of, lists_of, numbers_of

BATCH_ROWS = 2000
BATCH_ITEMS = 1_000_000
"""Numbers, and characters of texts, of a batch: what it takes in memory is a small multiple of that."""
FileKind = Literal["parquet", "jsonl"]


def aside(path: Path) -> Path:
    """Where a file is written before it is whole."""
    return path.with_name(f".{path.name}.writing")


class Writer:
    """One file of an export. `rows`: written so far."""

    def __init__(self, path: Path, kind: FileKind, layout: Layout) -> None:
        self.path = path
        self._aside = aside(path)
        self._layout = layout
        self._rows: list[Row] = []
        self._items = 0
        self._parquet = pq.ParquetWriter(self._aside, layout.schema, compression="zstd") if kind == "parquet" else None
        self._text = self._aside.open("w", encoding="utf-8") if kind == "jsonl" else None

    def add(self, row: Row) -> None:
        """Takes one row; rows are written in batches."""
        self._rows.append(row)
        self._items += items(row)
        if len(self._rows) >= BATCH_ROWS or self._items >= BATCH_ITEMS:
            self._flush()

    def _flush(self) -> None:
        if self._parquet is not None and self._rows:
            columns = [
                _column([row.get(field.name) for row in self._rows], field.type) for field in self._layout.schema
            ]
            self._parquet.write_table(pa.Table.from_arrays(columns, schema=self._layout.schema))
        if self._text is not None:
            self._text.writelines(json.dumps(row, ensure_ascii=False, default=_plain) + "\n" for row in self._rows)
        self._rows, self._items = [], 0

    def finish(self) -> None:
        """Writes the rest, and gives the file its name: before this no file of that name is there."""
        self._flush()
        self._close()
        self._aside.replace(self.path)

    def abandon(self) -> None:
        """Removes what is not finished; after `finish` it does nothing."""
        self._close()
        self._aside.unlink(missing_ok=True)

    def _close(self) -> None:
        for stream in (self._parquet, self._text):
            if stream is not None:
                stream.close()


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """As pa.array; lists that are arrays, Python's or Arrow's, are copied whole instead of number by number, and not at
    all where one large row is a batch by itself."""
    code = NUMBERS.get(kind)
    if len(values) == 1 and isinstance(values[0], pa.Array):
        return lists_of(values[0], ends_of(values))
    if code is not None and len(values) == 1 and isinstance(values[0], array) and values[0].typecode == code:
        return NumberLists(code, values[0], ends_of(values)).arrow()
    if any(isinstance(value, pa.Array) for value in values):
        inner = pa.concat_arrays([pa.array((), kind.value_type) if value is None else value for value in values])
        nulls = [row for row, value in enumerate(values) if value is None]
        return lists_of(inner, ends_of(() if value is None else value for value in values), nulls)
    if code is not None and all(value is None or isinstance(value, array) for value in values):
        return numbers_of(values, code).arrow()
    return pa.array(values, kind)


def _plain(value: Any) -> list[Any]:
    """A compact array of Python's or Arrow's as JSON has it."""
    return value.to_pylist() if isinstance(value, pa.Array) else list(value)


def items(value: Any) -> int:
    """How much a value holds: characters of texts, numbers, the parts of lists of lists."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(items, value.values()))
    if isinstance(value, list | tuple) and value and isinstance(value[0], str | Mapping | list | tuple):
        return sum(map(items, value))
    return len(value) if isinstance(value, Sequence | array | pa.Array) else 1
