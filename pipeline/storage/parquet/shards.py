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
from collections.abc import Iterable, Mapping, Sequence
from json.encoder import encode_basestring as _quoted
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline import schema
from berry.pipeline.records import ResponseSegment
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet.list_columns import NUMBERS, Coded, NumberLists, ends_of, lists_of, numbers_of
from berry.pipeline.storage.parquet.shard_files import ShardFile, shard_name

ROW_GROUP_BYTES = 64 << 20

_JSON = json.JSONEncoder(default=repr, ensure_ascii=False)
_SEGMENTS = pa.list_(schema.SEGMENT)
_SHARED = 2  # rows a value, on average, from which a value that several share is converted once
DISTINCT = frozenset(
    {
        *("node", "parent", "leaf", "trajectory_id", "seed"),
        *("token_ids", "prompt_token_ids", "text", "response", "messages", "answer", "evidence"),
        *("logprobs", "logprob_sum", "mean_entropy", "step_ends"),
    }
)
"""Columns whose values hardly repeat, for which a dictionary would be made and thrown away; or repeat by the row, as
the beginnings of siblings' answers and a problem's prompt, which zstd finds in less time and with less left over."""
_ENCODINGS = {
    "node": "DELTA_BINARY_PACKED",
    "parent": "DELTA_BINARY_PACKED",
    "leaf": "DELTA_BINARY_PACKED",
    "trajectory_id": "DELTA_BYTE_ARRAY",
}
_SORTED_BY = ("lease", "problem_id")
"""Columns by whose smallest and largest value a reader may leave out row groups."""
_TEXT = frozenset({"token_ids", "text", "response", "evidence"})
"""Columns that a higher level of zstd makes up to a third smaller; the others hardly change."""
COMPRESSION_LEVEL = 3  # of zstd, for those; merged files, which stay, have 9
_LIGHT_LEVEL = 1  # of zstd, for the others

Columns = Mapping[str, Sequence[Any] | NumberLists | Coded]
Rows = Sequence[Mapping[str, Any]] | Columns
"""A table by rows, or by columns: all of the schema's, of one length."""


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


def write_tables(
    location: Location,
    file: ShardFile,
    round_index: int,
    tables: Mapping[str, pa.Table],
    marks: Mapping[str, Mapping[str, str]],
    *,
    level: int,
) -> int:
    """Writes tables of today's schema as one set of files, the commit last; it names the digests of the others. Returns
    their bytes. Raises StorageError."""
    digests: dict[str, str] = {}
    size = 0
    for table in schema.TABLES:
        own = {**marks[table], "digests": json.dumps(digests)} if table == schema.COMMIT else marks[table]
        data = encode_table(tables[table], own, level=level)
        digests[table] = digest(data)
        location.put(file.name(table, round_index), data)
        size += data.size
    return size


def encoded(
    *, round_index: int, lease: int, tables: Mapping[str, Rows], metadata: Mapping[str, str]
) -> dict[str, pa.Buffer]:
    """A lease's files by table, the commit last: it names the digests of the others."""
    files: dict[str, pa.Buffer] = {}
    for table, arrow_schema in schema.TABLES.items():
        marks = {**metadata, "lease": str(lease), "round": str(round_index)}
        if table == schema.COMMIT:
            marks["digests"] = json.dumps({name: digest(buffer) for name, buffer in files.items()})
        rows = tables[table]
        columns = {f.name: _values(rows, f.name) for f in arrow_schema if f.name != "lease"}
        leases = [lease] * len(columns["problem_id"])
        files[table] = encode({**columns, "lease": leases}, arrow_schema, marks)
    return files


def encode(rows: Rows, arrow_schema: pa.Schema, marks: Mapping[str, str]) -> pa.Buffer:
    """Rows as one Parquet file in memory."""
    columns = [_column(_values(rows, f.name), f.type) for f in arrow_schema]
    return encode_table(pa.Table.from_arrays(columns, schema=arrow_schema), marks)


def encode_table(table: pa.Table, marks: Mapping[str, str], *, level: int | None = None) -> pa.Buffer:
    """A table with one of today's schemas as one Parquet file in memory: zstd, page checksums, row groups of about
    64 MB; `marks` become its key-value metadata. `level`: of zstd for every column, in place of those of a lease's own
    files."""
    named = {f"berry.{k}": v for k, v in {**marks, "schema": str(schema.VERSION)}.items()}
    rows = max(1, int(table.num_rows * ROW_GROUP_BYTES / max(table.nbytes, ROW_GROUP_BYTES)))
    leaves = {f.name: list(_leaves(f.name, f.type)) for f in table.schema}
    sink = pa.BufferOutputStream()
    writer = pq.ParquetWriter(
        sink,
        table.schema.remove_metadata(),
        compression="zstd",
        compression_level={path: level or _level(name) for name, paths in leaves.items() for path in paths},
        write_page_checksum=True,
        use_dictionary=[path for name, paths in leaves.items() if name not in DISTINCT for path in paths],  # pyright: ignore[reportArgumentType]
        column_encoding={name: kind for name, kind in _ENCODINGS.items() if name in leaves},
        write_statistics=[name for name in _SORTED_BY if name in leaves],  # pyright: ignore[reportArgumentType]
        store_schema=False,  # Arrow's own copy of it: 2 kB a file
    )
    with writer:
        writer.write_table(table.replace_schema_metadata(), row_group_size=rows)
        writer.add_key_value_metadata(named)
    return sink.getvalue()


def _level(column: str) -> int:
    return COMPRESSION_LEVEL if column in _TEXT else _LIGHT_LEVEL


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
    if values and values[0] is None and set(map(type, values)) == {type(None)}:
        return pa.nulls(len(values), kind)  # as scores are of a run without such a model
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        return _shared(values, kind)
    code = NUMBERS.get(kind)
    if code is None:
        return pa.array(values, type=kind)
    try:
        return numbers_of(values, code).arrow()
    except TypeError:  # a null among the numbers, as a step without a score
        return pa.array(values, type=kind)


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
    """Digest of a whole file: the commit file names those of the two others."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


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
