"""A lease's shards: the commit is the last file, and names are fixed by the lease."""

from __future__ import annotations

import json
from array import array
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from berry.pipeline import schema
from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import shard_files, shards

TRAJECTORY: dict[str, Any] = {
    "trajectory_id": "p/1",
    "problem_id": "p",
    "leaf": 1,
    "kept": True,
    "n_tokens": 3,
}
NODE: dict[str, Any] = {
    "problem_id": "p",
    "node": 1,
    "parent": 0,
    "depth": 1,
    "token_ids": [1, 2, 3],
    "text": "x",
    "seed": 2**62,
}
KEPT: dict[str, Any] = {
    "trajectory_id": "p/1",
    "messages": [{"role": "user", "content": "q"}],
    "response": "x",
    "step_ends": [1],
    "step_lows": [None],
    "token_ids": [1],
}


def commit(location: Location, lease: int, **changes: list[dict[str, Any]]) -> None:
    tables = {"nodes": [NODE], "kept": [KEPT], "trajectories": [TRAJECTORY], **changes}
    shards.write(location, round_index=0, lease=lease, tables=tables, metadata={"config": "c0ffee"})


def test_a_written_lease_is_committed_and_duckdb_reads_it(location: Location) -> None:
    commit(location, 7)
    assert shard_files.committed(location, 0) == {7}
    query = f"select lease, leaf, kept, n_tokens from '{location.root}/round=0/trajectories/*.parquet'"
    assert duckdb.sql(query).fetchall() == [(7, 1, True, 3)]
    kept = f"select messages[1].content, step_ends, step_lows from '{location.root}/round=0/kept/*.parquet'"
    assert duckdb.sql(kept).fetchall() == [("q", [1], [None])]


def test_written_twice_a_lease_is_there_once(location: Location) -> None:
    commit(location, 7)
    commit(location, 7)
    assert location.names("round=0/trajectories") == ["shard-000007.parquet"]
    assert duckdb.sql(f"select count(*) from '{location.root}/round=0/nodes/*.parquet'").fetchall() == [(1,)]


def test_a_writer_that_dies_before_the_last_file_has_committed_nothing(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Location.put

    def dies(self: Location, name: str, data: Any) -> None:
        if "trajectories" in name:
            raise StorageError("killed here")
        put(self, name, data)

    monkeypatch.setattr(Location, "put", dies)
    with pytest.raises(StorageError, match="killed here"):
        commit(location, 3)
    monkeypatch.undo()
    commit(location, 4)
    location.put("round=0/trajectories/shard-000003.parquet.writing-12", b"half")
    assert shard_files.committed(location, 0) == {4}
    assert shard_files.remove_uncommitted(location, 0) == 3
    assert location.names("round=0/nodes") == ["shard-000004.parquet"]
    assert location.names("round=0/trajectories") == ["shard-000004.parquet"]


def test_shards_carry_schema_version_config_and_lease(location: Location) -> None:
    commit(location, 7)
    for table, arrow_schema in schema.TABLES.items():
        file = pq.ParquetFile(location.path(shard_files.shard_name(table, 7, 0)))
        assert file.schema_arrow.remove_metadata().equals(arrow_schema)
        metadata = file.metadata.metadata
        assert metadata is not None
        assert metadata[b"berry.schema"] == str(schema.VERSION).encode()
        assert metadata[b"berry.lease"] == b"7"
        assert metadata[b"berry.config"] == b"c0ffee"
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_flipped_byte_in_a_page_is_found_by_its_checksum(location: Location) -> None:
    rows = [{**NODE, "text": f"text number {i} {i * 7919 % 1000}"} for i in range(2000)]
    commit(location, 1, nodes=rows)
    name = "round=0/nodes/shard-000001.parquet"
    data = bytearray(location.get(name) or b"")
    column = pq.ParquetFile(location.path(name)).metadata.row_group(0).column(5)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start + column.total_compressed_size - 3] ^= 0xFF
    location.put(name, bytes(data))
    with pytest.raises(OSError, match=r"(?i)checksum|crc"):
        pq.ParquetFile(location.path(name), page_checksum_verification=True).read()


def test_an_empty_lease_still_commits(location: Location) -> None:
    commit(location, 2, nodes=[], kept=[], trajectories=[])
    assert shard_files.committed(location, 0) == {2}


def test_large_tables_are_cut_into_row_groups(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 10_000)
    commit(location, 1, nodes=[{**NODE, "text": "y" * 100} for _ in range(1000)])
    file = pq.ParquetFile(location.path("round=0/nodes/shard-000001.parquet"))
    assert file.metadata.num_row_groups > 5
    assert file.metadata.num_rows == 1000


def test_lists_of_integers_are_stored_whatever_holds_them() -> None:
    rows = [
        {"problem_id": "p", "token_ids": array("i", [1, 2, 3])},
        {"problem_id": "p", "token_ids": []},
        {"problem_id": "p", "token_ids": (7,)},
    ]
    for stored in (rows, [*rows, {"problem_id": "p", "token_ids": None}]):
        table = pq.read_table(pa.BufferReader(shards.encode(stored, schema.NODES, {})))
        assert table.schema.remove_metadata().equals(schema.NODES)
        expected = [None if r["token_ids"] is None else list(r["token_ids"]) for r in stored]
        assert table.column("token_ids").to_pylist() == expected


def test_lists_of_floats_are_stored_whatever_holds_them() -> None:
    values = [array("f", [-0.5, -1.25]), None, (), (-3.0, float("-inf")), None]
    rows = [{"problem_id": "p", "logprobs": value} for value in values]
    table = pq.read_table(pa.BufferReader(shards.encode(rows, schema.NODES, {})))
    assert table.schema.remove_metadata().equals(schema.NODES)
    assert table.column("logprobs").to_pylist() == [None if v is None else list(v) for v in values]


def test_columns_are_stored_as_rows_are() -> None:
    shared = [{"role": "user", "content": "q"}]
    rows = [{**KEPT, "messages": shared, "trajectory_id": f"p/{i}"} for i in range(9)]
    rows += [{**KEPT, "messages": None}, {**KEPT, "messages": []}]
    columns = {name: [row.get(name) for row in rows] for name in schema.KEPT.names}
    by_row, by_column = (
        pq.read_table(pa.BufferReader(shards.encode(stored, schema.KEPT, {}))) for stored in (rows, columns)
    )
    assert by_row.equals(by_column)
    assert by_column.column("messages").to_pylist() == [row["messages"] for row in rows]
    empty = shards.encode({name: [] for name in schema.KEPT.names}, schema.KEPT, {})
    assert pq.read_table(pa.BufferReader(empty)).num_rows == 0


@pytest.mark.parametrize(
    "evidence",
    [
        {"expected": 'a "quoted"\\line\n', "got": "\u00e9\u2028\x07", "place": ""},
        {"expected": "1", "exit": 3, "cases": [1, None]},
    ],
)
def test_evidence_is_the_same_json_whichever_way_it_is_written(evidence: dict[str, Any]) -> None:
    assert shards.evidence_json(evidence) == json.dumps(evidence, ensure_ascii=False)
    assert shards.evidence_json({}) is None
