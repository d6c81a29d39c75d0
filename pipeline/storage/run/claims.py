"""Shares leases between sites that know each other only through the store: who has one, and whose result counts.

    round=0/claims/000007.001     second claim on lease 7: {"site": …, "token": …}; taken by create-if-absent
    round=0/decided/000007        the first result of lease 7 to arrive, whole; emptied once its shards are written
    round=0/learning/000          the first site that learns from the round; 001 if that one died over it …

A claim only saves work: it may be taken over from a site that is dead, or was thought so. What is committed is decided
once, by create-if-absent of the decision. It holds the shards themselves, so whoever finds it can finish the writing,
always with the same bytes: a writer that comes late, or dies half-way, changes nothing.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from berry.pipeline import schema
from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import shard_files

_HEAD = struct.Struct("<4sI")  # magic, bytes of the JSON behind it
_MAGIC = b"BRD1"


@dataclass(frozen=True, slots=True)
class Owner:
    """A site that holds a claim, and the process of it that does."""

    site: str
    token: str  # of the site's process: `heartbeat.Presence.token`


@dataclass(frozen=True, slots=True)
class Claim:
    """The `number`-th claim on a lease, from 0."""

    lease: int
    number: int

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"{self.lease:06d}.{self.number:03d}"


def folder(round_index: int) -> str:
    """Where a round's claims lie in the run directory."""
    return f"round={round_index}/claims"


def latest(location: Location, round_index: int) -> dict[int, Claim]:
    """The claim that counts on each claimed lease. Raises StorageError."""
    found: dict[int, Claim] = {}
    for name in location.names(folder(round_index)):
        lease, _, number = name.partition(".")
        if lease.isdigit() and number.isdigit():
            found[int(lease)] = Claim(int(lease), int(number))  # sorted by name: the last one stays
    return found


def owner(location: Location, round_index: int, claim: Claim) -> Owner | None:
    """None if the claim is gone."""
    return _owner(location, f"{folder(round_index)}/{claim.name}")


def _owner(location: Location, name: str) -> Owner | None:
    data = location.get(name)
    if data is None:
        return None
    try:
        return Owner(**json.loads(data))
    except (ValueError, TypeError) as error:
        raise StorageError(f"{location.show(name)}: is damaged ({error}); remove it") from error


def take(location: Location, round_index: int, claim: Claim, who: Owner) -> bool:
    """False if another was first."""
    return location.create(f"{folder(round_index)}/{claim.name}", _encoded(who))


def _encoded(who: Owner) -> bytes:
    return json.dumps({"site": who.site, "token": who.token}).encode()


def release(location: Location, round_index: int, claim: Claim) -> None:
    """Removes a claim and all before it: the lease is committed, or given back undone."""
    for number in range(claim.number + 1):
        location.remove(f"{folder(round_index)}/{Claim(claim.lease, number).name}")


# ---- turns at learning -----------------------------------------------------------------------------------------------


def _learning(round_index: int) -> str:
    return f"round={round_index}/learning"


def last_turn(location: Location, round_index: int) -> int:
    """-1 if nobody has begun to learn from the round. Raises StorageError."""
    return max((int(name) for name in location.names(_learning(round_index)) if name.isdigit()), default=-1)


def turn_of(location: Location, round_index: int, turn: int) -> Owner | None:
    """Who took the `turn`-th turn at a round's training; None where nobody did."""
    return _owner(location, f"{_learning(round_index)}/{turn:03d}")


def take_turn(location: Location, round_index: int, turn: int, who: Owner) -> bool:
    """False if another was first."""
    return location.create(f"{_learning(round_index)}/{turn:03d}", _encoded(who))


# ---- decisions -------------------------------------------------------------------------------------------------------


def _decision(lease: int, round_index: int) -> str:
    return f"round={round_index}/decided/{lease:06d}"


def commit(location: Location, *, round_index: int, lease: int, files: Mapping[str, pa.Buffer], token: str) -> bool:
    """Commits a lease's shards (`shards.encoded`), or finds that another result came first: False, and nothing of this
    one counts. Raises StorageError."""
    head = json.dumps({"token": token, "sizes": {table: data.size for table, data in files.items()}}).encode()
    bundle = b"".join([_HEAD.pack(_MAGIC, len(head)), head, *(bytes(data) for data in files.values())])
    if not location.create(_decision(lease, round_index), bundle):
        return False
    _write(location, round_index, lease, files)
    return True


def finish(location: Location, *, round_index: int, lease: int) -> bool:
    """Writes what was decided and not yet written, if anything; whether the lease is decided."""
    name = _decision(lease, round_index)
    data = location.get(name)
    if data is None:
        return False
    if data:
        _write(location, round_index, lease, _unpacked(data, location.show(name)))
    return True


def forget(location: Location, *, round_index: int, lease: int) -> None:
    """The lease is to be made again. Only where no site is at work."""
    location.remove(_decision(lease, round_index))


def _write(location: Location, round_index: int, lease: int, files: Mapping[str, pa.Buffer]) -> None:
    for table in schema.TABLES:  # the last one is the commit
        location.put(shard_files.shard_name(table, lease, round_index), files[table])
    location.put(_decision(lease, round_index), b"")


def _unpacked(data: bytes, where: str) -> dict[str, pa.Buffer]:
    try:
        magic, length = _HEAD.unpack_from(data)
        position = _HEAD.size + length
        sizes: dict[str, int] = json.loads(data[_HEAD.size : position])["sizes"]
        if magic != _MAGIC or position + sum(sizes.values()) != len(data):
            raise ValueError("it is not whole")
    except (struct.error, ValueError, KeyError) as error:
        raise StorageError(f"{where}: is damaged ({error}); remove it, and the lease is made again") from error
    buffer, files = pa.py_buffer(data), {}
    for table, size in sizes.items():
        files[table] = buffer.slice(position, size)
        position += size
    return files
