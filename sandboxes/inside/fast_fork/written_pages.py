"""Finds the pages that most jobs write, by running trial jobs in forks.

    learn_written_pages ─► fork ─► trial job ─► pages private to the fork ─► memory ranges (for `pin_pages`)

A fork shares all memory with its parent until one of the two writes to it, and each first write to a page is a trap
into the kernel. So a template lets forks of its own run trial jobs and notes which pages were private to them
afterwards. Where the host does not show pages (`/proc/self/pagemap`), none are found.
"""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import json
import os
import signal
import struct
from collections.abc import Callable, Sequence

from berry.sandboxes.inside.fast_fork import memory_maps
from berry.sandboxes.jail import syscalls

MemoryRanges = Sequence[Sequence[int]]
"""Start and length of stretches of memory, in bytes."""
_PRESENT_AND_EXCLUSIVE, _BACKED_BY_FILE = 1 << 63 | 1 << 56, 1 << 61
"""Bits of a /proc/self/pagemap entry: present and mapped by this process alone; a file's page."""
TrialRun = Callable[[Callable[[], None]], None]
"""Does what a job does in the calling process, then calls what it was given."""
_FIRST_OWN_FD = 20
"""Descriptors from here on are not a job's."""
TRIAL_TIMEOUT_S = 20
"""Longest time for a trial job."""


def move_above_job_fds(low: int) -> int:
    """Duplicates a descriptor to a number that no job's descriptor has, closes the old one, returns the new one."""
    high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _FIRST_OWN_FD)
    os.close(low)
    return high


class _PageMap:
    """Reads which writable pages are private to this process; prepared before a fork so that it writes little
    itself."""

    def __init__(self, proc: int) -> None:
        self._proc, self._page_bytes = proc, os.sysconf("SC_PAGE_SIZE")
        writable = [m for m in memory_maps.mappings(proc) if m.rights == "rw-p"]
        self._areas = [range(m.start, m.start + m.size, self._page_bytes) for m in writable]
        counts = [len(area) for area in self._areas]
        self._flags = ctypes.create_string_buffer(8 * sum(counts))
        view, ends = memoryview(self._flags).cast("B"), [8 * end for end in itertools.accumulate(counts, initial=0)]
        self._reads = [
            ([view[at:end]], area.start // self._page_bytes * 8)
            for area, (at, end) in zip(self._areas, itertools.pairwise(ends), strict=True)
        ]

    def read(self) -> None:
        """Reads the kernel's flags of each page. Raises OSError where it shows none."""
        pagemap = os.open("self/pagemap", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        for into, at in self._reads:
            os.preadv(pagemap, into, at)

    def private_pages(self) -> list[int]:
        """Lists addresses of the pages that no other process shared when `read` ran."""
        own_buffer = range(ctypes.addressof(self._flags), ctypes.addressof(self._flags) + len(self._flags))
        pages = (page for area in self._areas for page in area)
        flags = struct.iter_unpack("=Q", self._flags.raw)
        wanted = _PRESENT_AND_EXCLUSIVE
        return [
            page
            for page, (flag,) in zip(pages, flags, strict=True)
            if flag & (wanted | _BACKED_BY_FILE) == wanted and page not in own_buffer
        ]


def learn_written_pages(proc: int, trial_runs: Sequence[TrialRun]) -> MemoryRanges:
    """Finds the pages that forks of this process write in every one of these trial runs: to copy a page that a job then
    leaves alone costs as much as the trap that it saves another. `proc` is a descriptor on /proc."""
    try:
        high = fcntl.fcntl(proc, fcntl.F_DUPFD_CLOEXEC, _FIRST_OWN_FD)
        written = [_pages_written_by(trial, _PageMap(high)) for trial in trial_runs]
        os.close(high)
    except OSError:
        return ()
    return _merge_adjacent(sorted(set.intersection(*written)))


def _pages_written_by(trial: TrialRun, page_map: _PageMap) -> set[int]:
    """Finds addresses of the pages that are private to a fork after a trial run in it."""
    receiving, low = os.pipe()
    sending = move_above_job_fds(low)
    pid = syscalls.fork()
    if pid == 0:

        def report() -> None:
            page_map.read()
            os.write(sending, json.dumps(page_map.private_pages()).encode())

        try:
            signal.alarm(TRIAL_TIMEOUT_S)
            trial(report)
        finally:
            os._exit(0)
    os.close(sending)
    reported = b""
    while part := os.read(receiving, 1 << 16):
        reported += part
    os.close(receiving)
    if pid > 0:
        os.waitpid(pid, 0)
    return set(json.loads(reported or b"[]"))


def _merge_adjacent(pages: Sequence[int]) -> MemoryRanges:
    """Joins neighbouring pages to as few ranges as cover them."""
    size = os.sysconf("SC_PAGE_SIZE")
    ranges: list[list[int]] = []
    for page in pages:
        if ranges and sum(ranges[-1]) == page:
            ranges[-1][1] += size
        else:
            ranges.append([page, size])
    return ranges
