"""Rows of stored trees are read in pieces: the same rows, never all at once, whatever becomes of the files."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pyarrow as pa
import pytest

from berry.pipeline import schema
from berry.pipeline.stages.dataset.maintenance.compact import compact
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.storage.parquet import checked_read, lease_tables, shards
from berry.pipeline.storage.parquet.lease_rows import read_lease
from berry.pipeline.storage.parquet.lease_tables import open_lease
from berry.pipeline.storage.run.directory import RunDir


@pytest.mark.parametrize("table", schema.TABLES)
def test_pieces_are_the_rows_that_are_read_whole(
    stored_run: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setattr(shards, "ROW_GROUP_BYTES", 4000)
    monkeypatch.setattr(lease_tables, "BATCH_ROWS", 5)
    location = stored_run(count=7).location
    whole = checked_read.read_tables(location, 0, 0)[table]
    read = open_lease(location, 0, 0)[table]
    assert read.held is None
    assert read.num_rows == whole.num_rows > 12
    assert read.read() == whole
    for start, stop in ((0, 1), (3, 11), (7, 8), (whole.num_rows - 1, whole.num_rows), (5, 5)):
        for columns in (None, ["problem_id", "lease"]):
            batches = list(read.batches(columns, start=start, stop=stop))
            assert all(batch.num_rows <= 5 for batch in batches)
            wanted = whole if columns is None else whole.select(columns)
            assert pa.Table.from_batches(batches, schema=wanted.schema) == wanted.slice(start, stop - start)


def test_rows_that_are_merged_while_they_are_read_are_still_there(stored_run: Callable[..., RunDir]) -> None:
    run = stored_run(count=14)
    before = [list(tree.kept) for tree in read_trees(run)]
    trees = list(read_trees(run))
    compact(run)
    assert all(tree.nodes for tree in trees)
    assert [list(tree.kept) for tree in trees] == before
    assert trees[0].kept[-1] == before[0][-1]


def test_rows_of_trees_are_those_of_the_lease(stored_run: Callable[..., RunDir]) -> None:
    run = stored_run(count=7)
    lease = read_lease(run.location, 0, 0)
    trees = list(read_trees(run))
    assert [row for tree in trees for row in tree.trajectories] == lease.trajectories
    assert [row for tree in trees for row in tree.kept] == lease.kept
    assert trees[1].trajectories[1:3] == list(trees[1].trajectories)[1:3]
    for row in lease.trajectories:
        tree = next(tree for tree in trees if tree.problem_id == row["problem_id"])
        assert tree.response(row["leaf"]) == row["response"]
        assert list(tree.token_ids(row["leaf"])) == tree.tree.response_ids(row["leaf"])


def test_rows_are_not_in_memory_all_at_once(stored_run: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_tables, "BATCH_ROWS", 16)
    [tree] = read_trees(stored_run(count=1, policy={"type": "fixed", "branching": [30, 20]}))
    peaks = []
    for rows in (lambda: sum(1 for _ in tree.kept), lambda: len(list(tree.kept))):
        tracemalloc.start()
        assert rows() > 200
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    one_by_one, all_at_once = peaks
    assert one_by_one < all_at_once / 4
