"""Packs the messages between host and slot about children; short, since both read them at every job.

host ─► slot: StartChild (the next child's limits) | kill
slot ─► host: children that ended, children that are ready
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

LIMITS = (None, "cpu", "wall", "memory", "output", "disk", "processes", "killed")
"""Why a slot killed its child, by number."""
_START, _KILL = struct.Struct("=cddqqqqqq"), struct.Struct("=ci")
_COUNT, _DONE = struct.Struct("=i"), struct.Struct("=iiddqbb")
_MAX_COUNT = 1 << 62


class StartChild(NamedTuple):
    """Limits that the slot itself watches, and the file that the host wants afterwards."""

    cpu_s: float
    wall_s: float
    memory_bytes: int
    output_bytes: int
    disk_bytes: int
    threads: int
    processes: int
    cores: int
    fetch: str | None = None

    def pack(self) -> bytes:
        """Encodes the order."""
        counts = self[2:8]
        limits = _START.pack(b"s", self.cpu_s, self.wall_s, *[min(n, _MAX_COUNT) for n in counts])
        return limits + (self.fetch or "").encode()


class Done(NamedTuple):
    """How a child ended, and at which of `stages`."""

    pid: int
    status: int
    cpu_s: float
    wall_s: float
    peak_bytes: int
    limit: str | None
    stage: int

    def pack(self) -> bytes:
        """Encodes the record."""
        return _DONE.pack(*self[:5], LIMITS.index(self.limit), self.stage)

    @classmethod
    def unpack(cls, data: bytes) -> Done:
        """Decodes the record."""
        pid, status, cpu_s, wall_s, peak_bytes, limit, stage = _DONE.unpack(data)
        return cls(pid, status, cpu_s, wall_s, peak_bytes, LIMITS[limit], stage)


def numbers(values: Sequence[int]) -> bytes:
    """Packs process ids or descriptors, as the kernel reads these; without `array`, a library more in each fork."""
    return struct.pack(f"={len(values)}i", *values)


def numbers_of(data: bytes) -> tuple[int, ...]:
    """Unpacks what `numbers` packed, and leaves out what is no whole number."""
    return struct.unpack_from(f"={len(data) // 4}i", data)


def kill(pid: int) -> bytes:
    """Packs the order to end this child."""
    return _KILL.pack(b"k", pid)


def order(data: bytes) -> StartChild | int:
    """Unpacks an order: a job for the next child, or the process id of a child to kill."""
    if data[:1] == b"k":
        return _KILL.unpack(data)[1]
    _, cpu_s, wall_s, *counts = _START.unpack_from(data)
    memory_bytes, output_bytes, disk_bytes, threads, processes, cores = counts
    fetch = data[_START.size :].decode() or None
    return StartChild(cpu_s, wall_s, memory_bytes, output_bytes, disk_bytes, threads, processes, cores, fetch)


def report(done: list[Done], ready: list[int]) -> bytes:
    """Packs a report: children that ended, and process ids of children that are ready."""
    return _COUNT.pack(len(done)) + b"".join([d.pack() for d in done]) + numbers(ready)


def reported(data: bytes) -> tuple[list[Done], tuple[int, ...]]:
    """Unpacks what `report` packed."""
    (n,) = _COUNT.unpack_from(data)
    end = _COUNT.size + n * _DONE.size
    ready = numbers_of(data[end:])
    return [Done.unpack(data[at : at + _DONE.size]) for at in range(_COUNT.size, end, _DONE.size)], ready
