"""Writes a lease's journal as small whole files: what was flushed is there after any crash, wherever it is stored.

    round=0/journal/lease-000007/001-000003            attempt 1, third segment
    round=0/journal/lease-000007/001.in-4f0c9a1e-000012  attempt 1 is in the batches of 4f0c9a1e, from the twelfth on
    round=0/journal/batches/4f0c9a1e/000000/000012     a segment each of several leases, of one worker

On an object store, where each request costs the same however small, a worker writes one batch for all its leases. A
batch is removed once none of its leases is open; what dead workers left of them goes when no journal is left.

A segment is zstd over framed records, behind a CRC. Each attempt's first record says how many segments of the attempts
before it were replayed, so that a worker thought dead, which still writes, changes nothing for those after it.
"""

from __future__ import annotations

import json
import re
import secrets
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from berry.pipeline.storage.files import Location

_NAME = re.compile(r"^(\d{3})-(\d{6})$")
_POINTER = re.compile(r"^(\d{3})\.in-([0-9a-f]+)-(\d{6})$")
_HEAD = struct.Struct("<4sIQ")  # magic, CRC of the body, bytes once decompressed
_MAGIC = b"BRJ1"
_LENGTH = struct.Struct("<I")
TOGETHER = 64  # batches of a folder, which a store removes by few requests


def folder(lease: int, round_index: int) -> str:
    """Where a lease's journal lies in the run directory."""
    return f"round={round_index}/journal/lease-{lease:06d}"


def write(location: Location, place: str, *, attempt: int, number: int, records: Sequence[bytes]) -> int:
    """Writes one segment; returns its bytes. Raises StorageError."""
    data = _encode(records)
    location.put(f"{place}/{attempt:03d}-{number:06d}", data, durable=False)
    return len(data)


@dataclass(frozen=True, slots=True)
class JournalSegment:
    """A segment of a lease's journal, to be written with those of other leases."""

    lease: int
    attempt: int
    number: int
    records: Sequence[bytes]


class BatchWriter:
    """Writes the segments of one worker's leases of a round, those of one moment as one file. For threads."""

    def __init__(self, location: Location, round_index: int) -> None:
        self._location = location
        self._round = round_index
        self._writer = secrets.token_hex(4)
        self._number = 0
        self._held: dict[int, set[int]] = {}  # folder of batches -> its leases that are open
        self._pointed: set[tuple[int, int]] = set()  # (lease, attempt) whose folder says where its segments are
        self._lock = threading.Lock()

    def write(self, segments: Sequence[JournalSegment]) -> int:
        """Writes all of them as one batch; returns its bytes. Raises StorageError; then none counts as written."""
        with self._lock:
            number = self._number
            for one in segments:
                if (one.lease, one.attempt) not in self._pointed:
                    pointer = f"{one.attempt:03d}.in-{self._writer}-{number:06d}"
                    self._location.put(f"{folder(one.lease, self._round)}/{pointer}", b"")
                    self._pointed.add((one.lease, one.attempt))
            data = _encode([_packed(one) for one in segments])
            self._location.put(_batch(self._round, self._writer, number), data)
            self._held.setdefault(number // TOGETHER, set()).update(one.lease for one in segments)
            self._number += 1
            return len(data)

    def close(self, lease: int) -> None:
        """Removes the batches that no other lease needs: this one is committed. Raises StorageError."""
        with self._lock:
            self._pointed = {one for one in self._pointed if one[0] != lease}
            for number, leases in list(self._held.items()):
                leases.discard(lease)
                is_over = number < self._number // TOGETHER
                if not leases and (is_over or not any(self._held.values())):
                    self._location.remove_folder(f"{batches(self._round)}/{self._writer}/{number:06d}")
                    del self._held[number]


def _batch(round_index: int, writer: str, number: int) -> str:
    return f"{batches(round_index)}/{writer}/{number // TOGETHER:06d}/{number:06d}"


def batches(round_index: int) -> str:
    """Where a round's batches lie in the run directory."""
    return f"round={round_index}/journal/batches"


def _packed(segment: JournalSegment) -> bytes:
    lengths = [len(record) for record in segment.records]
    head = json.dumps([segment.lease, segment.attempt, segment.number, lengths]).encode()
    return b"".join([_LENGTH.pack(len(head)), head, *segment.records])


def _unpacked(data: bytes) -> JournalSegment:
    (length,) = _LENGTH.unpack_from(data)
    position = _LENGTH.size + length
    lease, attempt, number, lengths = json.loads(data[_LENGTH.size : position])
    records: list[bytes] = []
    for length in lengths:
        records.append(data[position : position + length])
        position += length
    return JournalSegment(lease, attempt, number, records)


def read(location: Location, place: str) -> dict[int, list[list[bytes]]]:
    """Records of each attempt, segment by segment. An attempt ends before its first missing or damaged segment."""
    numbers: dict[int, dict[int, list[bytes] | None]] = {}
    for name in location.names(place):
        if (match := _NAME.match(name)) is not None:
            attempt, number = int(match[1]), int(match[2])
            data = location.get(f"{place}/{name}")
            numbers.setdefault(attempt, {})[number] = None if data is None else _decode(data)
        elif (match := _POINTER.match(name)) is not None:
            attempt = int(match[1])
            for one in _from_batches(location, place, match[2], int(match[3])):
                if one.attempt == attempt:
                    numbers.setdefault(attempt, {})[one.number] = list(one.records)
    attempts: dict[int, list[list[bytes]]] = {}
    for attempt, present in sorted(numbers.items()):
        segments = attempts.setdefault(attempt, [])
        while (records := present.get(len(segments))) is not None:
            segments.append(records)
    return attempts


def _from_batches(location: Location, place: str, writer: str, first: int) -> Iterator[JournalSegment]:
    """The segments of the lease whose journal is at `place`, in a worker's batches from the `first` on."""
    above, _, own = place.rpartition("/")
    lease = int(own.removeprefix("lease-"))
    within = f"{above}/batches/{writer}"
    for part in location.folders(within):
        names = location.names(f"{within}/{part}") if int(part) >= first // TOGETHER else []
        for name in names:
            data = location.get(f"{within}/{part}/{name}") if name.isdigit() and int(name) >= first else None
            for record in (None if data is None else _decode(data)) or ():
                segment = _unpacked(record)
                if segment.lease == lease:
                    yield segment


def damaged(location: Location, place: str) -> int:
    """How many segments of a journal's own files can't be read, or come behind one that is missing."""
    whole = read(location, place)
    own = [match for name in location.names(place) if (match := _NAME.match(name)) is not None]
    return sum(int(match[2]) >= len(whole.get(int(match[1]), ())) for match in own)


def remove(location: Location, place: str) -> None:
    """Removes a journal."""
    location.remove_folder(place)


def _encode(records: Sequence[bytes]) -> bytes:
    plain = b"".join([part for record in records for part in (_LENGTH.pack(len(record)), record)])
    body = pa.compress(plain, codec="zstd", asbytes=True)
    return _HEAD.pack(_MAGIC, zlib.crc32(body), len(plain)) + body


def _decode(data: bytes) -> list[bytes] | None:
    """The records, None if the segment is damaged."""
    if len(data) < _HEAD.size:
        return None
    magic, crc, size = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC or zlib.crc32(body) != crc:
        return None
    plain = pa.decompress(body, decompressed_size=size, codec="zstd", asbytes=True)
    records: list[bytes] = []
    position = 0
    while position < len(plain):
        (length,) = _LENGTH.unpack_from(plain, position)
        position += _LENGTH.size
        records.append(plain[position : position + length])
        position += length
    return records
