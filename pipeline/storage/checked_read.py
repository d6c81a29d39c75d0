"""Reads shards, the one place that does: page checksums are always verified, schema and marks are compared.

    file ─► read_shard ─► Shard(table, marks)      what is wrong with the file ─► DamagedShard, with the kind of fault
         └► read_rows, read_marks, scan            for readers that need no more than "it is damaged": StorageError

Shards of earlier schema versions are read as today's: columns that came later are null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from berry.pipeline import schema
from berry.pipeline.errors import StorageError
from berry.pipeline.storage import shards
from berry.pipeline.storage.files import Location


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
    """A file that was read whole. `table` has today's columns; `marks`: the key-value metadata, without the prefix
    `berry.`; `digest`: of the whole file, as the commit names it."""

    table: pa.Table
    marks: dict[str, str]
    digest: str
    size_bytes: int


def read_shard(location: Location, table: str, lease: int, round_index: int) -> Shard:
    """Reads a file of a committed lease. Raises DamagedShard; StorageError when the storage itself does not answer."""
    name = shards.shard_name(table, lease, round_index)
    data = location.get(name)
    if data is None:
        raise DamagedShard(FaultKind.MISSING, f"{name} is not there, though the lease is committed")
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        rows = file.read()
    except (pa.ArrowException, OSError) as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        kind = FaultKind.CHECKSUM if "CRC" in text else FaultKind.UNREADABLE
        raise DamagedShard(kind, f"{name}: {text}") from error
    marks = _marks(file.schema_arrow.metadata, name)
    written = schema.as_of(table, _version(marks))
    if not rows.schema.equals(written, check_metadata=False):
        raise DamagedShard(FaultKind.SCHEMA, f"{name}: {_difference(rows.schema, written)}")
    return Shard(_as_today(rows, table), marks, shards.digest(data), len(data))


def read_rows(location: Location, table: str, lease: int, round_index: int) -> list[dict[str, Any]]:
    """Reads the rows of a committed lease. Raises StorageError where the file is damaged."""
    return checked(location, table, lease, round_index).table.to_pylist()


def checked(location: Location, table: str, lease: int, round_index: int) -> Shard:
    """Reads a file of a committed lease as `read_shard` does. Raises StorageError, which names the command that says
    more."""
    try:
        return read_shard(location, table, lease, round_index)
    except DamagedShard as damage:
        raise StorageError(f"{location.show()}: is damaged: {damage.detail}; `berry check` says more") from damage


def read_marks(location: Location, table: str, lease: int, round_index: int) -> dict[str, str]:
    """Reads what a file says of itself beside its rows: its footer, no page. Raises StorageError where it is damaged,
    FileNotFoundError where there is none."""
    name = shards.shard_name(table, lease, round_index)
    try:
        return _marks(location.read(name, pq.read_metadata).metadata, name)
    except (pa.ArrowException, DamagedShard) as error:
        raise StorageError(f"{location.show(name)}: is damaged ({error}); `berry check` says more") from error


def scan(location: Location, table: str, leases: Sequence[int], round_index: int) -> ds.Dataset:
    """A dataset over files of committed leases, read as it is asked. Raises StorageError where a file is not there; a
    damaged page raises OSError while it is read."""
    names = [location.path(shards.shard_name(table, lease, round_index)) for lease in leases]
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


def _marks(metadata: dict[bytes, bytes] | None, name: str) -> dict[str, str]:
    try:
        return {
            k.decode().removeprefix("berry."): v.decode()
            for k, v in (metadata or {}).items()
            if k.startswith(b"berry.")
        }
    except UnicodeDecodeError as error:
        raise DamagedShard(FaultKind.MARKS, f"{name}: its metadata is not text") from error


def _version(marks: dict[str, str]) -> int:
    """The schema version a file was written in; today's where it says none that there was."""
    text = marks.get("schema", "")
    return int(text) if text.isdigit() and 1 <= int(text) <= schema.VERSION else schema.VERSION


def _as_today(rows: pa.Table, table: str) -> pa.Table:
    today = schema.TABLES[table]
    if rows.schema.names == today.names:
        return rows
    nulls = {f.name: pa.nulls(rows.num_rows, f.type) for f in today if rows.schema.get_field_index(f.name) < 0}
    columns = [nulls[f.name] if f.name in nulls else rows[f.name] for f in today]
    return pa.Table.from_arrays(columns, schema=today.with_metadata(rows.schema.metadata))


def _difference(have: pa.Schema, wanted: pa.Schema) -> str:
    for field in wanted:
        if have.get_field_index(field.name) < 0:
            return f"the column {field.name} is missing"
        if have.field(field.name).type != field.type:
            return f"the column {field.name} is {have.field(field.name).type}, it should be {field.type}"
    extra = [name for name in have.names if wanted.get_field_index(name) < 0]
    return f"the column {extra[0]} is unknown" if extra else "its columns are in another order"
