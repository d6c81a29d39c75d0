"""Pages that every job writes, copied before its job comes and in one go.

A fork shares all memory with its parent until one of the two writes to it, and each first write to a page is a trap
into the kernel: some 350 in a small job, most of them on the same pages every time. So a template has forks of its
own go a job's way and look which pages they then had to themselves; every child asks for copies of these with its
first call, while nobody waits for it.

    template: learn ─► fork ─► rehearsal ─► pages of its own ─► Copies        child: Copies.make

Where the host does not show pages, or knows no such call, children copy pages as they write them and nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import json
import os
import signal
import struct
from collections.abc import Callable, Sequence
from typing import Literal

from berry.sandboxes.inside.fast_fork import memory_maps
from berry.sandboxes.jail import syscalls

Pieces = Sequence[Sequence[int]]
"""Start and length of pieces of memory, in bytes."""
Way = Literal["once", "each", "none"]
"""One call for all pieces (Linux 6.15), one for each (5.14), or no such call."""
_POPULATE_WRITE = 23
_OWN, _OF_FILE = 1 << 63 | 1 << 56, 1 << 61
"""Flags of a page: there and mapped by this process alone; a file's."""
Rehearsal = Callable[[Callable[[], None]], None]
"""Goes a job's way in the calling process and calls what it was given."""
MOST = 1024
"""Pieces that one call takes."""
_HIGH = 20
"""Descriptors from here on are not a job's."""
LEARNING_S = 20
"""Longest time for a rehearsal."""


class Copies:
    """Has the calling process copy these pieces of memory."""

    def __init__(self, pieces: Pieces, way: Way) -> None:
        self.pieces, self.way = pieces[:MOST] if way != "none" else (), way
        self._numbers = laid_out(self.pieces)
        self._all: syscalls.Bound | None = None
        if way == "once":
            vector, count = bytes(self._numbers), len(self.pieces)
            self._all = syscalls.Bound("process_madvise", syscalls.PIDFD_SELF, vector, count, _POPULATE_WRITE, 0)

    def make(self) -> None:
        """Makes the copies. What can't be had now, for want of memory, is copied when it is written."""
        with contextlib.suppress(OSError):
            self.ask()

    def ask(self) -> None:
        """The same; raises OSError."""
        if self._all is not None:
            self._all()
            return
        for at in range(0, len(self._numbers), 2):
            syscalls.madvise(self._numbers[at], self._numbers[at + 1], _POPULATE_WRITE)


def laid_out(pieces: Pieces) -> ctypes.Array[ctypes.c_size_t]:
    """The same as the kernel reads it: address and length of each in turn."""
    flat = [number for piece in pieces for number in piece]
    return (ctypes.c_size_t * len(flat))(*flat)


def lifted(low: int) -> int:
    """The same descriptor where a job's do not come."""
    high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    os.close(low)
    return high


class _View:
    """A look at this process's writable private memory, prepared before a fork so that it writes little itself."""

    def __init__(self, proc: int) -> None:
        self._proc, self._page = proc, os.sysconf("SC_PAGE_SIZE")
        found = [m for m in memory_maps.mappings(proc) if m.rights == "rw-p"]
        self._areas = [range(m.start, m.start + m.size, self._page) for m in found]
        counts = [len(area) for area in self._areas]
        self._flags = ctypes.create_string_buffer(8 * sum(counts))
        view, ends = memoryview(self._flags).cast("B"), [8 * end for end in itertools.accumulate(counts, initial=0)]
        self._reads = [
            ([view[at:end]], area.start // self._page * 8)
            for area, (at, end) in zip(self._areas, itertools.pairwise(ends), strict=True)
        ]

    def look(self) -> None:
        """Notes what the kernel says of each page. Raises OSError where it says nothing."""
        pagemap = os.open("self/pagemap", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        for into, at in self._reads:
            os.preadv(pagemap, into, at)

    def own(self) -> list[int]:
        """The pages that no other process shared."""
        notes = range(ctypes.addressof(self._flags), ctypes.addressof(self._flags) + len(self._flags))
        pages = (page for area in self._areas for page in area)
        flags = struct.iter_unpack("=Q", self._flags.raw)
        found = zip(pages, flags, strict=True)
        return [page for page, (flag,) in found if flag & (_OWN | _OF_FILE) == _OWN and page not in notes]


def learn(proc: int, rehearsals: Sequence[Rehearsal]) -> Copies:
    """Copies of what forks of this process write in every one of these rehearsals, each of which says when it is over.
    `proc` is a descriptor on /proc."""
    try:
        high = fcntl.fcntl(proc, fcntl.F_DUPFD_CLOEXEC, _HIGH)
        written = [_watch(_View(high), rehearse) for rehearse in rehearsals]
        os.close(high)
    except OSError:
        return Copies((), "none")
    pieces = _joined(sorted(set.intersection(*written)))
    return Copies(pieces, _way(pieces[:1]))


def _watch(view: _View, rehearse: Rehearsal) -> set[int]:
    """The pages that a fork has to itself after a rehearsal."""
    receiving, low = os.pipe()
    sending = lifted(low)
    pid = syscalls.fork()
    if pid == 0:

        def tell() -> None:
            view.look()
            os.write(sending, json.dumps(view.own()).encode())

        try:
            signal.alarm(LEARNING_S)
            rehearse(tell)
        finally:
            os._exit(0)
    os.close(sending)
    told = b""
    while part := os.read(receiving, 1 << 16):
        told += part
    os.close(receiving)
    if pid > 0:
        os.waitpid(pid, 0)
    return set(json.loads(told or b"[]"))


def _joined(pages: Sequence[int]) -> Pieces:
    """The same as few pieces."""
    size = os.sysconf("SC_PAGE_SIZE")
    pieces: list[list[int]] = []
    for page in pages:
        if pieces and sum(pieces[-1]) == page:
            pieces[-1][1] += size
        else:
            pieces.append([page, size])
    return pieces


def _way(pieces: Pieces) -> Way:
    """What this host knows, tried on some pieces."""
    ways: tuple[Way, ...] = ("once", "each") if pieces else ()
    for way in ways:
        with contextlib.suppress(OSError):
            Copies(pieces, way).ask()
            return way
    return "none"
