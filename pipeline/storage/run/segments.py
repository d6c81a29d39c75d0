"""Writes a lease's journal as small whole files: what was flushed is there after any crash, wherever it is stored.

    round=0/journal/lease-000007/001-000003     attempt 1, third segment

A segment is zstd over framed records, behind a CRC. Each attempt's first record says how many segments of the attempts
before it were replayed, so that a worker thought dead, which still writes, changes nothing for those after it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence

import pyarrow as pa

from berry.pipeline.storage.files import Location

_NAME = re.compile(r"^(\d{3})-(\d{6})$")
_HEAD = struct.Struct("<4sIQ")  # magic, CRC of the body, bytes once decompressed
_MAGIC = b"BRJ1"
_LENGTH = struct.Struct("<I")


def folder(lease: int, round_index: int) -> str:
    """Where a lease's journal lies in the run directory."""
    return f"round={round_index}/journal/lease-{lease:06d}"


def write(location: Location, place: str, *, attempt: int, number: int, records: Sequence[bytes]) -> int:
    """Writes one segment; returns its bytes. Raises StorageError."""
    plain = b"".join([part for record in records for part in (_LENGTH.pack(len(record)), record)])
    body = pa.compress(plain, codec="zstd", asbytes=True)
    data = _HEAD.pack(_MAGIC, zlib.crc32(body), len(plain)) + body
    location.put(f"{place}/{attempt:03d}-{number:06d}", data, durable=False)
    return len(data)


def read(location: Location, place: str) -> dict[int, list[list[bytes]]]:
    """Records of each attempt, segment by segment. An attempt ends before its first missing or damaged segment."""
    numbers: dict[int, list[int]] = {}
    for name in location.names(place):
        match = _NAME.match(name)
        if match is not None:
            numbers.setdefault(int(match.group(1)), []).append(int(match.group(2)))
    attempts: dict[int, list[list[bytes]]] = {}
    for attempt, present in sorted(numbers.items()):
        segments = attempts.setdefault(attempt, [])
        for expected, number in enumerate(sorted(present)):
            data = location.get(f"{place}/{attempt:03d}-{number:06d}") if number == expected else None
            records = None if data is None else _decode(data)
            if records is None:
                break
            segments.append(records)
    return attempts


def remove(location: Location, place: str) -> None:
    """Removes a journal."""
    location.remove_folder(place)


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
