"""Keeps what committed leases reported in few files, beside the Parquet files that say it too.

    round=0/manifests/1f3a9c20-000002.007     of the driver 1f3a9c20 the block 2, in its seventh writing

A manifest is written once and never changed: a block that grows is written again under the next number, and the writing
before the last one is removed. A file is zstd behind a CRC, so that one that was half written or has changed is known
and counts as not there. Whether a lease is committed is for the shards alone to say (`parquet.shard_files`).
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

import pyarrow as pa

from berry.pipeline.storage.files import Location

_NAME = re.compile(r"^([0-9a-f]+)-(\d{6})\.(\d{3,})$")
_HEAD = struct.Struct("<4sIQ")  # magic, CRC of the body, bytes once decompressed
_MAGIC = b"BRM1"


@dataclass(frozen=True, slots=True, order=True)
class Manifest:
    """The `writing`-th file of a driver's `block`, both from 0. `driver`: hexadecimal digits of its own."""

    driver: str
    block: int
    writing: int

    @property
    def base_name(self) -> str:
        """Its name within the round's folder of manifests."""
        return f"{self.driver}-{self.block:06d}.{self.writing:03d}"


def folder(round_index: int) -> str:
    """Where a round's manifests lie in the run directory."""
    return f"round={round_index}/manifests"


def blocks(location: Location, round_index: int) -> list[list[Manifest]]:
    """The writings of each block that are there, the newest first; blocks too, since of what two say of a lease the
    later holds. Raises StorageError."""
    found: dict[tuple[str, int], list[tuple[int, Manifest]]] = {}
    for name, (_, changed_ns) in location.stamps(folder(round_index)).items():
        match = _NAME.match(name)
        if match is not None:
            one = Manifest(match[1], int(match[2]), int(match[3]))
            found.setdefault((one.driver, one.block), []).append((changed_ns, one))
    newest_first = sorted(found.values(), key=lambda writings: max(writings), reverse=True)
    return [sorted((one for _, one in writings), reverse=True) for writings in newest_first]


def write(location: Location, round_index: int, manifest: Manifest, content: bytes) -> None:
    """Raises StorageError."""
    body = pa.compress(content, codec="zstd", asbytes=True)
    data = _HEAD.pack(_MAGIC, zlib.crc32(body), len(content)) + body
    location.put(f"{folder(round_index)}/{manifest.base_name}", data, durable=False)


def read(location: Location, round_index: int, manifest: Manifest) -> bytes | None:
    """What was written; None where the file is gone, or is not what was written. Raises StorageError where the storage
    does not answer."""
    data = location.get(f"{folder(round_index)}/{manifest.base_name}")
    if data is None or len(data) < _HEAD.size:
        return None
    magic, crc, size = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if magic != _MAGIC or zlib.crc32(body) != crc:
        return None
    return pa.decompress(body, decompressed_size=size, codec="zstd", asbytes=True)


def remove(location: Location, round_index: int, manifest: Manifest) -> None:
    """Removes one file; nothing where it is gone. Raises StorageError."""
    location.remove(f"{folder(round_index)}/{manifest.base_name}")
