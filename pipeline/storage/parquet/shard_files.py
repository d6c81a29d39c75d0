"""Names a round's Parquet files, and finds the one that holds a lease.

    round=0/nodes/shard-000007.parquet                one lease
    round=0/nodes/shard-000000-000063.parquet         leases 0 to 63, merged (merged.py)
    round=0/nodes/shard-000007.1.parquet              the rows of the first, written again (`berry compact`)

A lease is committed once a file in `trajectories/` holds it. Where several hold it, as between the writing of a merged
file and the removal of what was merged, the widest counts, and of files of the same leases the one that was written
again last: the others have the same rows, or are of a writer that came too late.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from berry.pipeline import schema
from berry.pipeline.storage.files import Location

_BEGIN, _END = "shard-", ".parquet"
_BETWEEN = tuple(f"{_BEGIN}{first:02d}" for first in range(100))  # cut a long listing into parts that are alike
_SHARD = re.compile(r"^shard-(\d+)(?:-(\d+))?(?:\.(\d+))?\.parquet$")


@dataclass(frozen=True, slots=True, order=True)
class ShardFile:
    """The leases `first` to `last` of a round, all of them, in one file a table. `written_again`: how often."""

    first: int
    last: int
    written_again: int = 0

    @property
    def is_merged(self) -> bool:
        """Whether it holds several leases."""
        return self.last > self.first

    @property
    def leases(self) -> range:
        return range(self.first, self.last + 1)

    @property
    def base_name(self) -> str:
        """Its name within a table's folder."""
        last = f"-{self.last:06d}" if self.is_merged else ""
        again = f".{self.written_again}" if self.written_again else ""
        return f"shard-{self.first:06d}{last}{again}.parquet"

    def name(self, table: str, round_index: int) -> str:
        """Its name within the run directory."""
        return f"round={round_index}/{table}/{self.base_name}"

    def holds(self, other: ShardFile) -> bool:
        """Whether all leases of the other file are in this one."""
        return self.first <= other.first and other.last <= self.last


def shard_name(table: str, lease: int, round_index: int) -> str:
    """The file that a lease is written to when it is committed."""
    return ShardFile(lease, lease).name(table, round_index)


def present(location: Location, table: str, round_index: int) -> list[ShardFile]:
    """Every file of a table, in order, those that a wider one holds too. Raises StorageError."""
    return sorted(_parsed(_names(location, table, round_index)))


def _names(location: Location, table: str, round_index: int) -> list[str]:
    return location.names(f"round={round_index}/{table}", between=_BETWEEN)


def _parsed(names: Iterable[str]) -> Iterable[ShardFile]:
    for name in names:
        match = _SHARD.match(name)
        if match is not None:
            first = int(match.group(1))
            yield ShardFile(first, int(match.group(2) or first), int(match.group(3) or 0))


def widest(files: Iterable[ShardFile]) -> list[ShardFile]:
    """Those that no other holds, in order."""
    kept: list[ShardFile] = []
    for file in sorted(files, key=lambda f: (f.first, -f.last, -f.written_again)):
        if not kept or not kept[-1].holds(file):
            kept.append(file)
    return kept


def committed_files(location: Location, round_index: int) -> list[ShardFile]:
    """The files that count, in order; together they hold each committed lease once. Raises StorageError."""
    files = widest(present(location, schema.COMMIT, round_index))
    _MERGED.set(location, round_index, [file for file in files if file.is_merged or file.written_again])
    return files


def committed(location: Location, round_index: int) -> set[int]:
    """Numbers of the leases that are committed. Raises StorageError."""
    alone, wider = _committed(location, _names(location, schema.COMMIT, round_index), round_index)
    return alone.union(*(file.leases for file in wider))


def _committed(location: Location, commits: Iterable[str], round_index: int) -> tuple[set[int], list[ShardFile]]:
    """The leases with a file of their own by the names of commit files, and the files of other names that count. Of a
    million files nearly all are of one lease: nothing is made of them but their numbers."""
    numbers = {name: _number(name) for name in commits}
    wider = widest(_parsed(name for name, number in numbers.items() if number is None))
    _MERGED.set(location, round_index, wider)
    return {number for number in numbers.values() if number is not None}, wider


def _number(name: str) -> int | None:
    """The lease of a file of one lease, written once; None of other names."""
    number = name[len(_BEGIN) : -len(_END)]
    is_alone = number.isdigit() and name.startswith(_BEGIN) and name.endswith(_END)
    return int(number) if is_alone else None


def has_own_commit(location: Location, lease: int, round_index: int) -> bool:
    """Whether a lease is committed in a file of its own, as all are while a driver is at work: asks for no listing.
    Raises StorageError."""
    return location.exists(shard_name(schema.COMMIT, lease, round_index))


def holder(location: Location, lease: int, round_index: int, *, fresh: bool = False) -> ShardFile:
    """The file to read a lease from, as far as the last listing of the round tells; `fresh`: lists again."""
    if fresh:
        committed_files(location, round_index)
    return _MERGED.holder(location, lease, round_index) or ShardFile(lease, lease)


def remove(location: Location, file: ShardFile, round_index: int) -> None:
    """Removes a file of every table, the commit first: a lease of which a part is gone is not to be read."""
    for table in reversed(schema.TABLES):
        location.remove(file.name(table, round_index))


def remove_uncommitted(location: Location, round_index: int) -> int:
    """Removes what killed writers left: files half written, those of leases without a commit, and those whose leases a
    merged file holds. Returns how many."""
    names = {table: _names(location, table, round_index) for table in reversed(schema.TABLES)}  # commits first
    alone, wider = _committed(location, names[schema.COMMIT], round_index)
    counting = {file.base_name for file in wider}

    def counts(name: str) -> bool:
        lease = _number(name)
        if lease is None:
            return name in counting
        return lease in alone and not (wider and _MERGED.holder(location, lease, round_index))

    removed = 0
    for table, its in names.items():
        for name in its:
            if not counts(name) and (".writing-" in name or _SHARD.match(name)):
                location.remove(f"round={round_index}/{table}/{name}")
                removed += 1
    return removed


class _Merged:
    """The files of each round that have other names than their leases' first ones, as they were when it was listed
    last: reading a lease asks for no listing of its own."""

    def __init__(self) -> None:
        self._files: dict[tuple[str, int], list[ShardFile]] = {}
        self._lock = threading.Lock()

    def set(self, location: Location, round_index: int, files: list[ShardFile]) -> None:
        with self._lock:
            if files:
                self._files[location.url, round_index] = files
            else:
                self._files.pop((location.url, round_index), None)

    def holder(self, location: Location, lease: int, round_index: int) -> ShardFile | None:
        with self._lock:
            files = self._files.get((location.url, round_index), [])
        at = bisect_right(files, lease, key=lambda file: file.first) - 1
        return files[at] if at >= 0 and lease <= files[at].last else None


_MERGED = _Merged()
