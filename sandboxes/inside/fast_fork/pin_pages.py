"""Pins the pages that most jobs write, so that the fork itself copies them.

The kernel may leave an ordinary page to be copied at its first write; a page that is registered for direct input and
output must be copied by the fork, which costs less than a trap or a call, and the parent, whose page stays its own,
writes on without a trap of its own. So a slot registers these pages (see `written_pages`) with an io_uring to which no
request is ever given; its children close it before any job's code runs, and their filter has no such call.

Where the host has no io_uring, or allows no more locked memory, children copy these pages when they write them.
"""

from __future__ import annotations

import ctypes
import os

from berry.sandboxes.inside.fast_fork.written_pages import MemoryRanges, move_above_job_fds
from berry.sandboxes.jail import syscalls

MAX_RANGES = 1024
"""Ranges that one registration takes."""
_QUEUE_ENTRIES, _PARAMETERS_BYTES, _REGISTER_BUFFERS = 1, 120, 0


def pin(ranges: MemoryRanges) -> bool:
    """Pins these stretches of the calling process's memory for as long as it lives; returns whether it could."""
    ranges = ranges[:MAX_RANGES]
    if not ranges:
        return False
    try:
        parameters = ctypes.create_string_buffer(_PARAMETERS_BYTES)
        ring = move_above_job_fds(syscalls.call("io_uring_setup", _QUEUE_ENTRIES, parameters))
    except OSError:
        return False
    try:
        syscalls.call("io_uring_register", ring, _REGISTER_BUFFERS, bytes(_iovec(ranges)), len(ranges))
    except OSError:
        os.close(ring)
        return False
    return True


def _iovec(ranges: MemoryRanges) -> ctypes.Array[ctypes.c_size_t]:
    """Lays the ranges out as the kernel reads them: address and length of each in turn."""
    flat = [number for piece in ranges for number in piece]
    return (ctypes.c_size_t * len(flat))(*flat)
