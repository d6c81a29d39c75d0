"""Merges the files of small leases, so that footers do not outweigh rows and a reader opens few files.

    round=0/…/shard-000000 … shard-000063 ─► shard-000000-000063, the commit last ─► the small ones are removed

Consecutive leases alone are merged, up to `MOST_BYTES` of rows. Killed at any point nothing is lost or doubled: until
the merged commit is there the small files count, from then on it does (`storage.parquet.shard_files`), and what is left
of the small ones is removed by the next `berry compact` or `berry run`. What earlier versions wrote becomes today's
schema on the way; a file that has no neighbours gets a new name then, so that it too is never half of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from berry.pipeline import schema
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import checked_read, merged, shard_files, shards
from berry.pipeline.storage.parquet.merged import Part, without_file_marks
from berry.pipeline.storage.parquet.shard_files import ShardFile
from berry.pipeline.storage.run.directory import RunDir

MOST_BYTES = 64 << 20  # of rows in memory: one row group
COMPRESSION_LEVEL = 9  # of zstd


@dataclass(slots=True)
class Compacted:
    """What a merging did, in files and bytes a table set."""

    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0


def compact(run: RunDir, progress: Callable[[int, int], None] = lambda _done, _all: None) -> Compacted:
    """Merges the committed leases of every round. Needs the run's lock. Raises StorageError where a file is damaged;
    what was merged before stays so."""
    done = Compacted()
    rounds = run.rounds()
    for number, round_index in enumerate(rounds, 1):
        compact_round(run.location, round_index, done)
        progress(number, len(rounds))
    return done


def compact_round(location: Location, round_index: int, done: Compacted | None = None) -> Compacted:
    """Merges the committed leases of one round. Needs the run's lock. Raises StorageError."""
    done = done or Compacted()
    shard_files.remove_uncommitted(location, round_index)
    for group in _groups(location, shard_files.committed_files(location, round_index), round_index):
        done.files_before += len(group.files)
        done.bytes_before += group.stored_bytes
        done.files_after += 1
        done.bytes_after += _merge(location, group, round_index) if group.is_worth_it else group.stored_bytes
    shard_files.remove_uncommitted(location, round_index)
    return done


@dataclass(slots=True)
class _Group:
    """Consecutive files that become one, read whole."""

    files: list[ShardFile]
    tables: dict[str, list[pa.Table]]
    parts: dict[str, list[Part]]
    row_bytes: int
    stored_bytes: int
    is_earlier: bool

    @property
    def is_worth_it(self) -> bool:
        return len(self.files) > 1 or self.is_earlier


def _groups(location: Location, files: Sequence[ShardFile], round_index: int) -> Iterator[_Group]:
    """Reads files in order and yields those that fit together; a lease is held in memory until its group is full."""
    group: _Group | None = None
    for file in files:
        read = _read(location, file, round_index)
        fits = (
            group is not None
            and group.files[-1].last + 1 == file.first
            and group.row_bytes + read.row_bytes <= MOST_BYTES
        )
        if group is not None and not fits:
            yield group
            group = None
        group = read if group is None else _joined(group, read)
    if group is not None:
        yield group


def _read(location: Location, file: ShardFile, round_index: int) -> _Group:
    tables: dict[str, list[pa.Table]] = {table: [] for table in schema.TABLES}
    parts: dict[str, list[Part]] = {table: [] for table in schema.TABLES}
    stored_bytes = row_bytes = 0
    is_earlier = False
    for lease in file.leases:
        stored = checked_read.read_shards(location, lease, round_index)
        is_earlier = is_earlier or any(shard.version < schema.VERSION for shard in stored.values())
        stored_bytes += sum(shard.size_bytes for shard in stored.values())
        for table, rows in checked_read.as_today(stored, lease).items():
            tables[table].append(rows)
            parts[table].append(Part(lease, 0, rows.num_rows, without_file_marks(stored[table].marks)))
            row_bytes += rows.nbytes
    return _Group([file], tables, parts, row_bytes, stored_bytes, is_earlier)


def _joined(one: _Group, other: _Group) -> _Group:
    for table in schema.TABLES:
        one.tables[table] += other.tables[table]
        one.parts[table] += other.parts[table]
    one.files += other.files
    one.row_bytes += other.row_bytes
    one.stored_bytes += other.stored_bytes
    one.is_earlier = one.is_earlier or other.is_earlier
    return one


def _merge(location: Location, group: _Group, round_index: int) -> int:
    """Writes one merged set of files and removes those that it holds. Returns its bytes."""
    file = ShardFile(group.files[0].first, group.files[-1].last)
    if len(group.files) == 1:
        file = replace(file, written_again=group.files[0].written_again + 1)
    marks = {
        table: merged.merged_marks(table, parts) if file.is_merged else parts[0].marks
        for table, parts in group.parts.items()
    }
    tables = {table: pa.concat_tables(of_leases) for table, of_leases in group.tables.items()}
    size = shards.write_tables(location, file, round_index, tables, marks, level=COMPRESSION_LEVEL)
    for old in group.files:
        shard_files.remove(location, old, round_index)
    return size
