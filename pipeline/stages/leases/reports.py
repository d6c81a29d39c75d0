"""Reads what each committed lease reported from the metadata of its commit file: totals that survive any crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from berry.pipeline import schema
from berry.pipeline.errors import StorageError
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases.lease import LeaseReport
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import checked_read, shard_files

AT_ONCE = 16
BATCH = 4096


def read_reports(location: Location, round_index: int) -> Iterator[LeaseReport]:
    """Reports of all committed leases of a round, in order. Raises StorageError for a damaged shard."""
    numbers = sorted(shard_files.committed(location, round_index))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(numbers), BATCH):  # a call that waits takes memory
            yield from pool.map(lambda lease: _read(location, lease, round_index), numbers[start : start + BATCH])


def read_commit_marks(location: Location, lease: int, round_index: int) -> dict[str, str]:
    """Reads what a commit file says of itself beside its rows, the lease's report among it. Raises StorageError for a
    damaged shard."""
    name = location.show(shard_files.holder(location, lease, round_index).name(schema.COMMIT, round_index))
    try:
        marks = checked_read.read_marks(location, schema.COMMIT, lease, round_index)
        json.loads(marks["report"])
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise StorageError(f"{name}: is damaged ({error}); `berry check` says more") from error
    return marks


def _read(location: Location, lease: int, round_index: int) -> LeaseReport:
    report = json.loads(read_commit_marks(location, lease, round_index)["report"])
    return LeaseReport(**{**report, "ledger": TokenLedger(**report["ledger"])})
