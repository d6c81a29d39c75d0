"""Reads a shard as a doubter: page checksums verified, schema and marks compared.

shard ─► read ─► Shard(table, marks)        what is wrong with the file ─► DamagedShard, with the kind of fault
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline import schema
from berry.pipeline.storage import shards
from berry.pipeline.storage.files import Location


class Kind(StrEnum):
    """What is wrong with a lease."""

    MISSING = "missing"  # committed, and a file of it is not there
    CHECKSUM = "checksum"  # a page, or the file, is not what was written
    UNREADABLE = "unreadable"  # not Parquet any more: cut short, or its footer is damaged
    SCHEMA = "schema"  # other columns or types than this release writes
    MARKS = "marks"  # says it is of another lease, round or configuration
    IDS = "ids"  # rows that name what is not there, or twice
    COUNTS = "counts"  # rows, tokens or texts that differ from file to file
    DISTRUSTED = "distrusted"  # made by an engine that is not believed any more


class DamagedShard(Exception):
    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Shard:
    """`marks`: the key-value metadata, without the prefix `berry.`."""

    table: pa.Table
    marks: dict[str, str]
    digest: str
    size_bytes: int


def read(location: Location, table: str, lease: int, round_index: int) -> Shard:
    """Raises DamagedShard; StorageError when the storage itself does not answer."""
    name = shards.shard_name(table, lease, round_index)
    data = location.get(name)
    if data is None:
        raise DamagedShard(Kind.MISSING, f"{name} is not there, though the lease is committed")
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        rows = file.read()
    except (pa.ArrowException, OSError) as error:
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        kind = Kind.CHECKSUM if "CRC" in text else Kind.UNREADABLE
        raise DamagedShard(kind, f"{name}: {text}") from error
    wanted = schema.TABLES[table]
    if not rows.schema.equals(wanted, check_metadata=False):
        raise DamagedShard(Kind.SCHEMA, f"{name}: {_difference(rows.schema, wanted)}")
    try:
        marks = {
            k.decode().removeprefix("berry."): v.decode()
            for k, v in (file.schema_arrow.metadata or {}).items()
            if k.startswith(b"berry.")
        }
    except UnicodeDecodeError as error:
        raise DamagedShard(Kind.MARKS, f"{name}: its metadata is not text") from error
    return Shard(rows, marks, shards.digest(data), len(data))


def _difference(have: pa.Schema, wanted: pa.Schema) -> str:
    for field in wanted:
        if have.get_field_index(field.name) < 0:
            return f"the column {field.name} is missing"
        if have.field(field.name).type != field.type:
            return f"the column {field.name} is {have.field(field.name).type}, this release writes {field.type}"
    extra = [name for name in have.names if wanted.get_field_index(name) < 0]
    return f"the column {extra[0]} is unknown" if extra else "its columns are in another order"
