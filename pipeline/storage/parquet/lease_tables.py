"""Reads the tables of a committed lease in pieces, so that a table of any size takes the memory of a piece.

    lease ─► open_lease ─► {table: LeaseTable} ─► batches of rows, of the columns that are asked for

A file of one lease is decoded as its rows are asked for. Merged files, which are small, and those that versions 1 to 5
wrote are read whole. Page checksums are verified either way (checked_read.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline import schema
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import checked_read, earlier_schemas, shard_files
from berry.pipeline.storage.parquet.checked_read import DamagedShard

BATCH_ROWS = 256


class LeaseTable:
    """A table of a committed lease with today's columns. `marks`: what its file says of it; `num_rows`: how many it
    has. `held`: its rows where they are in memory, else None."""

    def __init__(self, table: str, marks: dict[str, str], num_rows: int, held: pa.Table | None = None) -> None:
        self.table = table
        self.marks = marks
        self.num_rows = num_rows
        self.held = held

    def batches(
        self, columns: Sequence[str] | None = None, *, start: int = 0, stop: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows from `start` up to `stop` (its end), at most BATCH_ROWS at once; all columns unless some are named.
        Raises StorageError where the file is damaged."""
        assert self.held is not None, "a table that is not in memory is one of a file"
        end = self.num_rows if stop is None else stop
        yield from _pieces(self.held.slice(start, max(0, end - start)), columns)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows in memory. Raises StorageError."""
        names = schema.TABLES[self.table].names if columns is None else columns
        wanted = pa.schema([schema.TABLES[self.table].field(name) for name in names])
        return pa.Table.from_batches(self.batches(names), schema=wanted)


class _NotInPieces(Exception):
    """A file has rows that become today's only with those of the lease's other tables."""


class _FileTable(LeaseTable):
    """One that is decoded row group by row group. Of a group of which little is asked for at once, as the rows of one
    problem among many, the rows stay in memory until another is read."""

    def __init__(self, location: Location, table: str, lease: int, round_index: int, data: bytes | None) -> None:
        """`data`: the file; None: it is read from the disk. Raises DamagedShard, FileNotFoundError, _NotInPieces."""
        self._location, self._lease, self._round = location, lease, round_index
        self._name = shard_files.holder(location, lease, round_index).name(table, round_index)
        self._data = data
        footer = self._footer()
        marks = checked_read.marks_of(footer, self._name)
        if checked_read.version_of(marks) <= earlier_schemas.LAST:
            raise _NotInPieces
        checked_read.check_schema(self._name, table, marks, footer.schema.to_arrow_schema())
        super().__init__(table, marks, footer.num_rows)
        self._bounds = [0]
        for group in range(footer.num_row_groups):
            self._bounds.append(self._bounds[-1] + footer.row_group(group).num_rows)
        self._group: tuple[int, pa.Table] | None = None

    def batches(
        self, columns: Sequence[str] | None = None, *, start: int = 0, stop: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        end = self.num_rows if stop is None else stop
        for group, (first, last) in enumerate(pairwise(self._bounds)):
            low, high = max(start, first), min(end, last)
            if self.held is not None:
                yield from super().batches(columns, start=low, stop=high)
            elif low < high and 2 * (high - low) > last - first:
                yield from _within(self._decoded(group, columns), low - first, high - first)
            elif low < high:
                yield from _pieces(self._held_group(group).slice(low - first, high - low), columns)

    def _decoded(self, group: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """A row group's rows. They are those of the merged file where its leases were merged meanwhile."""
        names = schema.TABLES[self.table].names if columns is None else columns
        file = self._open()
        if file is None:
            first, last = self._bounds[group : group + 2]
            yield from super().batches(columns, start=first, stop=last)
            return
        there = set(file.schema_arrow.names)
        read = [name for name in names if name in there]
        try:
            with file:
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=read, use_threads=False):
                    yield _with_nulls(batch, self.table, names)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise checked_read.as_storage_error(self._location, checked_read.damage(self._name, error)) from error

    def _open(self) -> pq.ParquetFile | None:
        """None where the file is not there any more; then the rows are in memory."""
        try:
            return pq.ParquetFile(self._source(), page_checksum_verification=True)
        except FileNotFoundError:
            self.held = checked_read.read_tables(self._location, self._lease, self._round)[self.table]
            return None

    def _source(self) -> pa.NativeFile:
        if self._data is not None:
            return pa.BufferReader(self._data)
        return self._location.filesystem.open_input_file(self._location.path(self._name))

    def _footer(self) -> pq.FileMetaData:
        try:
            with self._source() as source:
                return pq.read_metadata(source)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise checked_read.damage(self._name, error) from error

    def _held_group(self, group: int) -> pa.Table:
        if self._group is None or self._group[0] != group:
            self._group = None
            self._group = group, pa.Table.from_batches(self._decoded(group), schema=schema.TABLES[self.table])
        return self._group[1]


def open_lease(location: Location, lease: int, round_index: int) -> dict[str, LeaseTable]:
    """The tables of a committed lease by name. Raises StorageError, which names the command that says more, where a
    file is damaged or not there."""
    try:
        if not shard_files.holder(location, lease, round_index).is_merged:
            return {table: _in_pieces(location, table, lease, round_index) for table in schema.TABLES}
    except (FileNotFoundError, _NotInPieces):  # merged meanwhile, or of an earlier version
        pass
    except DamagedShard as damage:
        raise checked_read.as_storage_error(location, damage) from damage
    stored = checked_read.read_shards(location, lease, round_index)
    tables = checked_read.as_today(stored, lease)
    return {name: LeaseTable(name, stored[name].marks, rows.num_rows, rows) for name, rows in tables.items()}


def _in_pieces(location: Location, table: str, lease: int, round_index: int) -> LeaseTable:
    """Of an object store the file is fetched whole, as it is stored, and decoded in pieces."""
    if location.is_local:
        return _FileTable(location, table, lease, round_index, None)
    data = location.get(shard_files.holder(location, lease, round_index).name(table, round_index))
    if data is None:
        raise FileNotFoundError(table)
    return _FileTable(location, table, lease, round_index, data)


def _within(batches: Iterator[pa.RecordBatch], start: int, stop: int) -> Iterator[pa.RecordBatch]:
    at = 0
    for batch in batches:
        low, high = max(start - at, 0), min(stop - at, batch.num_rows)
        at += batch.num_rows
        if low < high:
            yield batch.slice(low, high - low)
        if at >= stop:
            return


def _pieces(rows: pa.Table, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    chosen = rows if columns is None else rows.select(list(columns))
    return iter(chosen.to_batches(max_chunksize=BATCH_ROWS))


def _with_nulls(batch: pa.RecordBatch, table: str, names: Sequence[str]) -> pa.RecordBatch:
    """In the order of `names`, null for the columns that came later than the file."""
    today = schema.TABLES[table]
    there = set(batch.schema.names)
    columns = [batch[n] if n in there else pa.nulls(batch.num_rows, today.field(n).type) for n in names]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([today.field(n) for n in names]))
