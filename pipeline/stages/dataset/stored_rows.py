"""Gives a stored tree's rows one at a time, from Arrow columns, so that no tree's rows are dictionaries all at once.

    nodes of a lease        ─► nodes_by_problem ─► (problem, its node rows), in order
    trajectories of a tree  ─► TrajectoryRows   ─► rows with `path` and `response`; columns as they are stored
    kept rows of a lease    ─► KeptRows         ─► the rows of one problem, decoded as they are asked for
    nodes of a lease        ─► StoredNodes      ─► records of one problem's nodes, read when they are asked for

Rows have the columns and derived values that storage/parquet/lease_rows.py describes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any, overload

import pyarrow as pa

from berry.pipeline import schema
from berry.pipeline.records import DropReason, Node
from berry.pipeline.stages.dataset.read_tree import ReadTree
from berry.pipeline.stages.dataset.rows import Row, node_of
from berry.pipeline.storage.parquet.lease_rows import kept_row
from berry.pipeline.storage.parquet.lease_tables import LeaseTable
from berry.pipeline.storage.parquet.list_columns import arrays_of

_LISTS = {"token_ids": "i", "logprobs": "f"}
Place = tuple[int, int]
"""The first row of a problem in a table, and the row after its last."""


class _Rows(Sequence[Row]):
    """Rows that are made each time they are asked for."""

    @abstractmethod
    def __iter__(self) -> Iterator[Row]: ...

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return [self[number] for number in range(len(self))[at]]
        return self._row(range(len(self))[at])

    @abstractmethod
    def _row(self, number: int) -> Row: ...

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]


class TrajectoryRows(_Rows):
    """The trajectories of one tree, which lie in the `places` of its lease's table; completions that were drawn only to
    label prefixes are left out."""

    def __init__(self, table: LeaseTable, places: Sequence[Place], tree: ReadTree) -> None:
        self._table, self._places, self._tree = table, places, tree

    @cached_property
    def own_responses(self) -> dict[str, str]:
        """By leaf, the responses that are not the text of the nodes along their paths."""
        own: dict[str, str] = {}
        for batch in self.batches(("leaf", "response")):
            if batch["response"].null_count < batch.num_rows:
                rows = zip(batch["leaf"].to_pylist(), batch["response"].to_pylist(), strict=True)
                own.update((str(leaf), text) for leaf, text in rows if text is not None)
        return own

    def column(self, name: str) -> pa.ChunkedArray:
        """One of the columns as stored (schema.TRAJECTORIES)."""
        kind = schema.TRAJECTORIES.field(name).type
        return pa.chunked_array([batch[name] for batch in self.batches((name,))], type=kind)

    @cached_property
    def _size(self) -> int:
        return sum(batch.num_rows for batch in self.batches(()))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Row]:
        for batch in self.batches(schema.TRAJECTORIES.names):
            yield from map(self._whole, batch.to_pylist())

    def _row(self, number: int) -> Row:
        for batch in self.batches(schema.TRAJECTORIES.names):
            if number < batch.num_rows:
                return self._whole(batch.slice(number, 1).to_pylist()[0])
            number -= batch.num_rows
        raise IndexError(number)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some of the columns as stored, a few rows at a time; `drop_reason` is there too."""
        from pyarrow.compute import field  # a tenth of a second to import, and few scan

        reason = field("drop_reason")
        own = reason.is_null() | (reason != DropReason.ANNOTATION.value)
        for start, stop in self._places:
            for batch in self._table.batches([*{*columns, "drop_reason"}], start=start, stop=stop):
                yield batch.filter(own) if self._tree.has_completions else batch

    def _whole(self, row: Row) -> Row:
        if row["leaf"] is None:
            return row | {"leaf": "", "path": [], "response": None}
        row["leaf"] = str(row["leaf"])
        path = self._tree.path(self._tree[row["leaf"]])
        row["path"] = [node.node_id for node in path]
        if row["response"] is None:
            row["response"] = "".join([node.text or "" for node in path])
        return row


class KeptRows(_Rows):
    """The kept rows of one tree, which lie in the `places` of its lease's table."""

    def __init__(self, table: LeaseTable, places: Sequence[Place], tree: ReadTree) -> None:
        self._table, self._places, self._tree = table, places, tree

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self._places)

    @property
    def are_in_memory(self) -> bool:
        """Whether asking for them reads no file: of merged files, and those of earlier versions."""
        return self._table.held is not None

    def __iter__(self) -> Iterator[Row]:
        for start, stop in self._places:
            yield from self._between(start, stop)

    def _row(self, number: int) -> Row:
        for start, stop in self._places:
            if number < stop - start:
                return next(self._between(start + number, start + number + 1))
            number -= stop - start
        raise IndexError(number)

    def _between(self, start: int, stop: int) -> Iterator[Row]:
        for batch in self._table.batches(start=start, stop=stop):
            for row in batch.to_pylist():
                yield kept_row(row, self._logprob_sum)

    def _logprob_sum(self, row: Row) -> float | None:
        sums = [node.logprob_sum for node in self._tree.path(self._tree[row["leaf"]])] if row["leaf"] else []
        known = [one for one in sums if one is not None]
        return sum(known) if known and len(known) == len(sums) else None


class StoredNodes(Mapping[str, Node]):
    """The records of one tree's nodes by id, all read when the first is asked for."""

    def __init__(self, table: LeaseTable, place: Place) -> None:
        self._table, self._place = table, place
        self._read: dict[str, Node] | None = None

    def __getitem__(self, node_id: str) -> Node:
        return self._records()[node_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records())

    def __len__(self) -> int:
        return self._place[1] - self._place[0]

    def _records(self) -> dict[str, Node]:
        if self._read is None:
            start, stop = self._place
            rows = (row for batch in self._table.batches(start=start, stop=stop) for row in node_rows(batch))
            self._read = {row["node_id"]: node_of(row) for row in rows}
        return self._read


def nodes_by_problem(
    table: LeaseTable, *, start: int = 0, stop: int | None = None
) -> Iterator[tuple[str, Iterator[Row]]]:
    """The node rows of a lease, problem by problem, which lie one behind the other, from row `start` up to `stop` (the
    end). Rows of a problem are lost once the next is asked for. Raises StorageError."""
    rows = (row for batch in table.batches(start=start, stop=stop) for row in node_rows(batch))
    return groupby(rows, key=lambda row: row["problem_id"])


def node_rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch of `nodes`. Token ids and log-probabilities are compact arrays; texts that repeat, as the
    names of engines, are one object."""
    columns = {field.name: _values(batch.column(field.name), field) for field in batch.schema}
    numbers, above = columns.pop("node"), columns.pop("parent")
    names = list(columns)
    for number, parent, *values in zip(numbers, above, *columns.values(), strict=True):
        row = dict(zip(names, values, strict=True))
        row["node_id"], row["parent_id"] = str(number), None if parent is None else str(parent)
        if row["logprobs"] is not None:
            row["logprob_sum"] = sum(row["logprobs"])
        yield row


def _values(column: pa.Array, field: pa.Field) -> list[Any]:
    code = _LISTS.get(field.name)
    if code is not None:
        return arrays_of(column, code)
    if pa.types.is_string(field.type) and field.name != "text":
        coded = column.dictionary_encode()
        texts = coded.dictionary.to_pylist()
        return [None if code is None else texts[code] for code in coded.indices.to_pylist()]
    return column.to_pylist()


def places_of(batches: Iterable[pa.RecordBatch]) -> dict[str, list[Place]]:
    """Where the rows of each problem lie in a table, each stretch of neighbours as one."""
    found: dict[str, list[Place]] = {}
    at = 0
    for problem_id, group in groupby(name for batch in batches for name in batch["problem_id"].to_pylist()):
        size = sum(1 for _ in group)
        found.setdefault(problem_id, []).append((at, at + size))
        at += size
    return found


def rows_at(table: LeaseTable, places: Sequence[Place], columns: Sequence[str]) -> Iterator[Row]:
    """The rows of one problem, of the columns that are named."""
    for start, stop in places:
        for batch in table.batches(columns, start=start, stop=stop):
            yield from batch.to_pylist()
