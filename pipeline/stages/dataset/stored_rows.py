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

from berry.pipeline.core.tree import Tree
from berry.pipeline.errors import StorageError
from berry.pipeline.records import Node
from berry.pipeline.stages.dataset.rows import Row, node_of
from berry.pipeline.storage.parquet.lease_rows import kept_row
from berry.pipeline.storage.parquet.lease_tables import BATCH_ROWS, LeaseTable
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
    """The trajectories of one tree. `table`: their rows as stored."""

    def __init__(self, table: pa.Table, tree: Tree) -> None:
        self._table, self._tree = table, tree

    @cached_property
    def own_responses(self) -> dict[str, str]:
        """By leaf, the responses that are not the text of the nodes along their paths."""
        own = self._table.filter(self._table["response"].is_valid())
        leaves, texts = own["leaf"].to_pylist(), own["response"].to_pylist()
        return {str(leaf): text for leaf, text in zip(leaves, texts, strict=True)}

    def column(self, name: str) -> pa.ChunkedArray:
        """One of the columns as stored (schema.TRAJECTORIES)."""
        return self._table[name]

    def __len__(self) -> int:
        return self._table.num_rows

    def __iter__(self) -> Iterator[Row]:
        for batch in self._table.to_batches(max_chunksize=BATCH_ROWS):
            yield from map(self._whole, batch.to_pylist())

    def _row(self, number: int) -> Row:
        return self._whole(self._table.slice(number, 1).to_pylist()[0])

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

    def __init__(self, table: LeaseTable, places: Sequence[Place], tree: Tree) -> None:
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


def nodes_by_problem(table: LeaseTable) -> Iterator[tuple[str, Iterator[Row]]]:
    """The node rows of a lease, problem by problem, which lie one behind the other. Rows of a problem are lost once the
    next is asked for. Raises StorageError."""
    rows = (row for batch in table.batches() for row in node_rows(batch))
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


def rows_at(table: pa.Table, places: Sequence[Place]) -> pa.Table:
    """The rows of one problem."""
    return pa.concat_tables([table.slice(start, stop - start) for start, stop in places])


def missing_node(problem_id: str, node_id: str) -> StorageError:
    """The error of a tree that lacks a node."""
    return StorageError(f"problem {problem_id}: node {node_id} is not there; `berry check` says more")
