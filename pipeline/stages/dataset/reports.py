"""What each committed lease reported, read back from the metadata of its commit file: totals that survive any crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline import schema
from berry.pipeline.errors import StorageError
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases.lease import LeaseReport
from berry.pipeline.storage import shards
from berry.pipeline.storage.files import Location

AT_ONCE = 16
BATCH = 4096


def read_reports(location: Location, round_index: int) -> Iterator[LeaseReport]:
    """Reports of all committed leases of a round, in order. Raises StorageError for a damaged shard."""
    numbers = sorted(shards.committed(location, round_index))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(numbers), BATCH):  # a call that waits takes memory
            yield from pool.map(lambda lease: _read(location, lease, round_index), numbers[start : start + BATCH])


def read_marks(location: Location, lease: int, round_index: int) -> dict[str, str]:
    """What a commit file says of itself beside its rows. Raises StorageError for a damaged shard."""
    name = shards.shard_name(schema.COMMIT, lease, round_index)
    try:
        raw = location.read(name, pq.read_metadata).metadata or {}
        marks = {k.decode().removeprefix("berry."): v.decode() for k, v in raw.items() if k.startswith(b"berry.")}
        json.loads(marks["report"])
    except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
        raise StorageError(f"{location.show(name)}: is damaged ({error}); `berry check` says more") from error
    return marks


def _read(location: Location, lease: int, round_index: int) -> LeaseReport:
    report = json.loads(read_marks(location, lease, round_index)["report"])
    return LeaseReport(**{**report, "ledger": TokenLedger(**report["ledger"])})
