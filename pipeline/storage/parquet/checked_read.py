"""Reads shards, the one place that does: page checksums are always verified, schema and marks are compared.

    file ─► read_shard ─► Shard(table, marks)      what is wrong with the file ─► DamagedShard, with the kind of fault
         └► read_tables, read_marks, read_columns, scan         who needs no more than "it is damaged": StorageError

A lease is read from its own file or from the merged one that holds it. What earlier versions wrote becomes today's
tables (`earlier_schemas`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline import schema
from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import earlier_schemas, merged, shard_files, shards
from berry.pipeline.storage.parquet.shard_files import ShardFile

if TYPE_CHECKING:
    import pyarrow.dataset as ds

AT_ONCE = 16
_FOOTER_END = 8  # bytes behind a Parquet footer: its length, and four letters


class FaultKind(StrEnum):
    """What is wrong with a lease."""

    MISSING = "missing"  # committed, and a file of it is not there
    CHECKSUM = "checksum"  # a page, or the file, is not what was written
    UNREADABLE = "unreadable"  # not Parquet any more: cut short, or its footer is damaged
    SCHEMA = "schema"  # other columns or types than its schema version has
    MARKS = "marks"  # says it is of another lease, round or configuration
    IDS = "ids"  # rows that name what is not there, or twice
    COUNTS = "counts"  # rows, tokens or texts that differ from file to file
    DISTRUSTED = "distrusted"  # made by an engine that is not believed any more


class DamagedShard(Exception):
    """A shard can't be read as what it should be. `detail` names the file."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Shard:
    """The rows of one lease, from a file that was read whole. `table` has the columns of the schema `version`; `marks`:
    the key-value metadata, without the prefix `berry.`; `digest`: of the whole file, as the commit names it."""

    table: pa.Table
    marks: dict[str, str]
    version: int
    digest: str
    size_bytes: int


def read_shard(location: Location, table: str, lease: int, round_index: int) -> Shard:
    """Reads a table of a committed lease as it is stored. Of a merged file `size_bytes` counts with its first lease
    alone. Raises DamagedShard; StorageError when the storage itself does not answer."""
    for fresh in (False, True):
        file = shard_files.holder(location, lease, round_index, fresh=fresh)
        name = file.name(table, round_index)
        whole = _FILES.get(location, name) if file.is_merged else _read_file(location, name, table)
        if whole is not None:
            return _part(whole, lease, name) if file.is_merged else whole
    raise DamagedShard(FaultKind.MISSING, f"{name} is not there, though the lease is committed")


def _read_file(location: Location, name: str, table: str) -> Shard | None:
    data = location.get(name)
    if data is None:
        return None
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        rows = file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise damage(name, error) from error
    marks = marks_of(file.metadata, name)
    check_schema(name, table, marks, rows.schema)
    return Shard(rows, marks, version_of(marks), shards.digest(data), len(data))


def damage(name: str, error: Exception) -> DamagedShard:
    """What Arrow says of a file that it can't read, as the kind of fault it is."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    kind = FaultKind.CHECKSUM if "CRC" in text else FaultKind.UNREADABLE
    return DamagedShard(kind, f"{name}: {text}")


def check_schema(name: str, table: str, marks: Mapping[str, str], columns: pa.Schema) -> None:
    """Raises DamagedShard unless a file has the columns of the schema version that its marks name."""
    written = _as_of(table, version_of(marks))
    if not columns.equals(written, check_metadata=False):
        raise DamagedShard(FaultKind.SCHEMA, f"{name}: {_difference(columns, written)}")


def _part(whole: Shard, lease: int, name: str) -> Shard:
    """One lease's rows of a merged file."""
    try:
        found = merged.parts(whole.marks)
    except ValueError as error:
        raise DamagedShard(FaultKind.MARKS, f"{name}: {error}") from error
    part = next((p for p in found or () if p.lease == lease), None)
    if found is None or part is None:
        raise DamagedShard(FaultKind.MARKS, f"{name}: does not say which rows are those of lease {lease}")
    rows = whole.table.slice(part.start, part.rows)
    if rows.num_rows != part.rows or rows["lease"].unique().to_pylist() not in ([], [lease]):
        raise DamagedShard(FaultKind.IDS, f"{name}: holds other rows for lease {lease} than it says")
    size = whole.size_bytes if part is found[0] else 0
    return replace(whole, table=rows, marks=part.marks, size_bytes=size)


class _Files:
    """Merged files that were read last, whole: their leases are read one after the other."""

    MOST = 4

    def __init__(self) -> None:
        self._read: OrderedDict[tuple[str, str], tuple[tuple[int, int], Shard]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, location: Location, name: str) -> Shard | None:
        """None if the file is not there. Raises DamagedShard, StorageError."""
        stamp = location.stamp(name)
        if stamp is None:
            return None
        key = location.url, name
        with self._lock:
            known = self._read.get(key)
            if known is not None and known[0] == stamp:
                self._read.move_to_end(key)
                return known[1]
            whole = _read_file(location, name, name.split("/")[-2])
            if whole is not None:
                self._read[key] = stamp, whole
                while len(self._read) > self.MOST:
                    self._read.popitem(last=False)
            return whole


_FILES = _Files()


def read_tables(location: Location, lease: int, round_index: int) -> dict[str, pa.Table]:
    """Reads a committed lease: its tables by name, with today's columns. Raises StorageError, which names the command
    that says more, where a file is damaged."""
    return as_today(read_shards(location, lease, round_index), lease)


def read_shards(location: Location, lease: int, round_index: int) -> dict[str, Shard]:
    """Reads a committed lease as it is stored. Raises StorageError as `read_tables`."""
    return {table: checked(location, table, lease, round_index) for table in schema.TABLES}


def checked(location: Location, table: str, lease: int, round_index: int) -> Shard:
    """Reads a table of a committed lease as `read_shard` does. Raises StorageError as `read_tables`."""
    try:
        return read_shard(location, table, lease, round_index)
    except DamagedShard as found:
        raise as_storage_error(location, found) from found


def as_storage_error(location: Location, found: DamagedShard) -> StorageError:
    """The error of a reader that needs no more than that a file is damaged."""
    return StorageError(f"{location.show()}: is damaged: {found.detail}; `berry check` says more")


def as_today(stored: Mapping[str, Shard], lease: int) -> dict[str, pa.Table]:
    """The tables of a lease with today's columns, whatever version wrote them. Raises StorageError where the files of
    one lease are of different layouts."""
    earlier = {shard.version <= earlier_schemas.LAST for shard in stored.values()}
    if len(earlier) > 1:
        raise StorageError(f"lease {lease}: its files are of different schema versions; `berry check` says more")
    if True in earlier:
        return earlier_schemas.today({name: _padded(shard, name) for name, shard in stored.items()}, lease)
    return {name: _padded(shard, name) for name, shard in stored.items()}


def _padded(shard: Shard, table: str) -> pa.Table:
    """With nulls for the columns that came later."""
    newest = _as_of(table, earlier_schemas.LAST if shard.version <= earlier_schemas.LAST else schema.VERSION)
    rows = shard.table
    if rows.schema.names == newest.names:
        return rows
    columns = [rows[f.name] if f.name in rows.schema.names else pa.nulls(rows.num_rows, f.type) for f in newest]
    return pa.Table.from_arrays(columns, schema=newest)


def read_marks(location: Location, table: str, lease: int, round_index: int) -> dict[str, str]:
    """Reads what the file of a lease says of it beside its rows: the footer, no page. Raises StorageError where it is
    damaged, FileNotFoundError where there is none."""
    for fresh in (False, True):
        file = shard_files.holder(location, lease, round_index, fresh=fresh)
        name = file.name(table, round_index)
        try:
            marks = file_marks(location, name)
        except FileNotFoundError:
            if fresh:
                raise
            continue
        if not file.is_merged:
            return marks
        try:
            part = next(p for p in merged.parts(marks) or () if p.lease == lease)
        except (ValueError, StopIteration) as error:
            why = f"it does not say what lease {lease} is"
            raise StorageError(f"{location.show(name)}: is damaged ({why}); `berry check` says more") from error
        return part.marks
    raise AssertionError("the second look ends it")


def file_marks(location: Location, name: str) -> dict[str, str]:
    """Reads what a file says of itself. Raises StorageError where it is damaged, FileNotFoundError where there is
    none."""
    try:
        return marks_of(location.read(name, pq.read_metadata), name)
    except (pa.ArrowException, DamagedShard) as error:
        raise StorageError(f"{location.show(name)}: is damaged ({error}); `berry check` says more") from error


def commit_digest(location: Location, file: ShardFile, round_index: int) -> str:
    """A digest of what a file's leases hold, in every table: of the commit's footer, which names the digests of the
    other files, and of its size. Reads no page. Raises StorageError where the file is damaged or not there."""
    name = file.name(schema.COMMIT, round_index)

    def footer(stream: pa.NativeFile) -> bytes:
        size = stream.size()
        stream.seek(size - _FOOTER_END)
        length = int.from_bytes(stream.read(4), "little")
        stream.seek(max(0, size - _FOOTER_END - length))
        return size.to_bytes(8, "little") + stream.read(length)

    try:
        return shards.digest(location.read(name, footer))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StorageError(f"{location.show(name)}: can't be read ({error}); `berry check` says more") from error


def scan(location: Location, table: str, files: Sequence[ShardFile], round_index: int) -> ds.Dataset:
    """A dataset over files of today's schema, read as it is asked. Raises StorageError where a file is not there; a
    damaged page raises OSError while it is read."""
    import pyarrow.dataset as ds  # which imports pandas where it is there: most processes never scan

    names = [location.path(file.name(table, round_index)) for file in files]
    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    form = ds.ParquetFileFormat(default_fragment_scan_options=options)
    try:
        return ds.dataset(names, schema=schema.TABLES[table], format=form, filesystem=location.filesystem)
    except FileNotFoundError as error:
        where = location.show(f"round={round_index}/{table}")
        raise StorageError(
            f"{where}: {Path(str(error)).name} of a committed lease is not there; `berry check` finds all that "
            "are missing, and with --repair has them made again"
        ) from error


def read_columns(location: Location, table: str, file: ShardFile, round_index: int, names: Sequence[str]) -> pa.Table:
    """Columns of one file of today's schema, null where they came later than the file. Raises StorageError where the
    file is damaged or not there."""
    name = file.name(table, round_index)

    def read(stream: pa.NativeFile) -> pa.Table:
        stored = pq.ParquetFile(stream, page_checksum_verification=True)
        return stored.read(columns=[one for one in names if one in stored.schema_arrow.names])

    try:
        rows = location.read(name, read)
    except FileNotFoundError as error:
        raise as_storage_error(location, DamagedShard(FaultKind.MISSING, f"{name} is not there")) from error
    except (pa.ArrowException, OSError) as error:
        raise as_storage_error(location, damage(name, error)) from error
    fields = [schema.TABLES[table].field(one) for one in names]
    columns = [rows[f.name] if f.name in rows.schema.names else pa.nulls(rows.num_rows, f.type) for f in fields]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def by_schema(
    location: Location, files: Sequence[ShardFile], round_index: int
) -> tuple[list[ShardFile], list[ShardFile]]:
    """Committed files, apart: those that today's schema reads as they are, and those of versions 1 to 5. Reads every
    footer. Raises StorageError."""

    def is_earlier(file: ShardFile) -> bool:
        return version_of(file_marks(location, file.name(schema.COMMIT, round_index))) <= earlier_schemas.LAST

    with ThreadPoolExecutor(AT_ONCE) as pool:
        earlier = list(pool.map(is_earlier, files))
    return (
        [file for file, is_old in zip(files, earlier, strict=True) if not is_old],
        [file for file, is_old in zip(files, earlier, strict=True) if is_old],
    )


class EarlierTable:
    """A table of leases that versions 1 to 5 wrote, with today's columns: what Arrow reads as a stream, again each time
    it is asked, one lease in memory at a time."""

    def __init__(self, location: Location, table: str, files: Sequence[ShardFile], round_index: int) -> None:
        self._location, self._table = location, table
        self._files, self._round = files, round_index

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        reader = pa.RecordBatchReader.from_batches(schema.TABLES[self._table], self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for file in self._files:
            for lease in file.leases:
                yield from read_tables(self._location, lease, self._round)[self._table].to_batches()


def marks_of(footer: pq.FileMetaData, name: str) -> dict[str, str]:
    """What a file says of itself: its key-value metadata, without the prefix `berry.`. Raises DamagedShard."""
    metadata: dict[bytes, bytes] | None = footer.metadata
    try:
        return {
            k.decode().removeprefix("berry."): v.decode()
            for k, v in (metadata or {}).items()
            if k.startswith(b"berry.")
        }
    except UnicodeDecodeError as error:
        raise DamagedShard(FaultKind.MARKS, f"{name}: its metadata is not text") from error


def version_of(marks: Mapping[str, str]) -> int:
    """The schema version a file was written in; today's where it says none that there was."""
    text = marks.get("schema", "")
    return int(text) if text.isdigit() and 1 <= int(text) <= schema.VERSION else schema.VERSION


def _as_of(table: str, version: int) -> pa.Schema:
    return (earlier_schemas if version <= earlier_schemas.LAST else schema).as_of(table, version)


def _difference(have: pa.Schema, wanted: pa.Schema) -> str:
    for field in wanted:
        if have.get_field_index(field.name) < 0:
            return f"the column {field.name} is missing"
        if have.field(field.name).type != field.type:
            return f"the column {field.name} is {have.field(field.name).type}, it should be {field.type}"
    extra = [name for name in have.names if wanted.get_field_index(name) < 0]
    return f"the column {extra[0]} is unknown" if extra else "its columns are in another order"
