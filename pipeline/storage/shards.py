"""Writes a lease's results as three Parquet files whose names the lease fixes; the last one is the commit.

    write(location, round, lease, tables) ─► round=0/nodes/shard-000007.parquet
                                             round=0/kept/shard-000007.parquet
                                             round=0/trajectories/shard-000007.parquet   <- its presence: committed

Written twice (a lease taken over after its first worker was thought dead), a shard replaces its like: same name, same
problems, so nothing is there twice.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring as _quoted
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline import schema
from berry.pipeline.records import ResponseSegment
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.list_columns import Coded, NumberLists, ends_of, lists_of, numbers_of

ROW_GROUP_BYTES = 64 << 20
_SHARD = re.compile(r"^shard-(\d+)\.parquet$")

_JSON = json.JSONEncoder(default=repr, ensure_ascii=False)
_NUMBERS = {pa.list_(pa.int32()): "i", pa.list_(pa.float32()): "f"}  # lists of numbers, and Python's arrays of them
_SEGMENTS = pa.list_(schema.SEGMENT)
_SHARED = 2  # rows a value, on average, from which a value that several share is converted once
DISTINCT = frozenset(
    {
        "node_id",
        "leaf",
        "path",
        "prompt_token_ids",
        "trajectory_id",
        "text",
        "response",
        "evidence",
        "verify_ms",
        "logprob_sum",
        "logprobs",
        "mean_entropy",
        "seed",
    }
)
"""Columns whose values hardly repeat, for which a dictionary would be made and thrown away; or repeat by the row, as a
path's beginning and a prompt, which zstd finds in half of the time."""

Columns = Mapping[str, Sequence[Any] | NumberLists | Coded]
Rows = Sequence[Mapping[str, Any]] | Columns
"""A table by rows, or by columns: all of the schema's, of one length."""


def shard_name(table: str, lease: int, round_index: int) -> str:
    return f"round={round_index}/{table}/shard-{lease:06d}.parquet"


def write(
    location: Location,
    *,
    round_index: int,
    lease: int,
    tables: Mapping[str, Rows],
    metadata: Mapping[str, str],
) -> dict[str, int]:
    """Commits one lease. `tables` maps each name of schema.TABLES to its rows. Returns bytes written a table.
    Raises StorageError; then nothing of the lease counts as committed."""
    files = encoded(round_index=round_index, lease=lease, tables=tables, metadata=metadata)
    for table, buffer in files.items():
        location.put(shard_name(table, lease, round_index), buffer)
    return {table: buffer.size for table, buffer in files.items()}


def encoded(
    *, round_index: int, lease: int, tables: Mapping[str, Rows], metadata: Mapping[str, str]
) -> dict[str, pa.Buffer]:
    """A lease's files by table, the commit last: it names the digests of the others."""
    files: dict[str, pa.Buffer] = {}
    for table, arrow_schema in schema.TABLES.items():
        marks = {**metadata, "lease": str(lease), "round": str(round_index)}
        if table == schema.COMMIT:
            marks["digests"] = json.dumps({name: digest(buffer) for name, buffer in files.items()})
        files[table] = encode(tables[table], arrow_schema, marks)
    return files


def encode(rows: Rows, arrow_schema: pa.Schema, metadata: Mapping[str, str]) -> pa.Buffer:
    """Rows as one Parquet file in memory: zstd, page checksums, row groups of about 64 MB."""
    marks = {f"berry.{k}": v for k, v in {**metadata, "schema": str(schema.VERSION)}.items()}
    columns = [_column(_values(rows, f.name), f.type) for f in arrow_schema]
    table = pa.Table.from_arrays(columns, schema=arrow_schema.with_metadata(marks))
    group = (
        max(1, int(table.num_rows * ROW_GROUP_BYTES / max(table.nbytes, ROW_GROUP_BYTES))) if table.num_rows else None
    )
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        write_page_checksum=True,
        row_group_size=group,
        use_dictionary=[path for f in arrow_schema if f.name not in DISTINCT for path in _leaves(f.name, f.type)],  # pyright: ignore[reportArgumentType]
    )
    return sink.getvalue()


def _leaves(path: str, kind: pa.DataType) -> Iterable[str]:
    """What Parquet calls the columns that a field becomes."""
    if pa.types.is_list(kind):
        return _leaves(f"{path}.list.element", kind.value_type)
    if pa.types.is_struct(kind):
        return [leaf for f in kind.fields for leaf in _leaves(f"{path}.{f.name}", f.type)]
    return [path]


def _values(rows: Rows, name: str) -> Sequence[Any] | NumberLists | Coded:
    return rows[name] if isinstance(rows, Mapping) else [row.get(name) for row in rows]


def _column(values: Sequence[Any] | NumberLists | Coded, kind: pa.DataType) -> pa.Array:
    """As pa.array; lists of numbers, most of what a run writes, are copied as whole arrays instead of one by one, and
    lists of objects that many rows share, as a problem's messages, are converted once."""
    if isinstance(values, NumberLists):
        return values.arrow()
    if isinstance(values, Coded):
        return values.arrow(kind)
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        return _shared(values, kind)
    code = _NUMBERS.get(kind)
    return pa.array(values, type=kind) if code is None else numbers_of(values, code).arrow()


def _shared(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    places: dict[int, int] = {}
    indices = [places.setdefault(id(value), len(places)) for value in values]
    if len(places) * _SHARED > len(values):
        return _structs(values, kind)
    different = dict(zip(indices, values, strict=True))
    return _structs(list(different.values()), kind).take(pa.array(indices, pa.int32()))


def _structs(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Segments column by column: a dict for each would be made only to be taken apart again."""
    if (
        kind != _SEGMENTS
        or None in values
        or not all(type(one) is ResponseSegment for value in values for one in value)
    ):
        return pa.array(values, type=kind)
    flat = [segment for value in values for segment in value]
    columns = zip(*flat, strict=True) if flat else [()] * schema.SEGMENT.num_fields
    arrays = [pa.array(c, type=f.type) for c, f in zip(columns, schema.SEGMENT.fields, strict=True)]
    return lists_of(pa.StructArray.from_arrays(arrays, fields=schema.SEGMENT.fields), ends_of(values))


def digest(data: bytes | pa.Buffer) -> str:
    """Of a whole file: the commit file names those of the two others."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def committed(location: Location, round_index: int) -> set[int]:
    """Lease numbers whose commit file is there."""
    return set(_leases(location.names(f"round={round_index}/{schema.COMMIT}")))


def remove_uncommitted(location: Location, round_index: int) -> int:
    """Removes what killed writers left: aside files, and shards of leases without a commit. Returns how many."""
    done = committed(location, round_index)
    removed = 0
    for table in schema.TABLES:
        folder = f"round={round_index}/{table}"
        for name in location.names(folder):
            match = _SHARD.match(name)
            if ".writing-" in name or (match is not None and int(match.group(1)) not in done):
                location.remove(f"{folder}/{name}")
                removed += 1
    return removed


def _leases(names: Iterable[str]) -> Iterable[int]:
    for name in names:
        match = _SHARD.match(name)
        if match is not None:
            yield int(match.group(1))


def evidence_json(evidence: Mapping[str, Any]) -> str | None:
    """A verdict's evidence as JSON text; values that JSON lacks become their repr."""
    if not evidence:
        return None
    parts: list[str] = []
    for key, value in evidence.items():
        if type(value) is not str:
            return _JSON.encode(dict(evidence))
        parts.append(f"{_quoted(key)}: {_quoted(value)}")  # text alone, as nearly always, in a tenth of the time
    return "{" + ", ".join(parts) + "}"
