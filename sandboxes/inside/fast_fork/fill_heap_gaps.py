"""Fills the gaps in the heap, so that objects of forks lie side by side.

Imports leave free blocks between the ones they keep, and the allocators hand those out first: the objects of a small
job would lie on a hundred pages, of which each holds little of it and must be copied whole. So a template takes these
blocks itself, for as long as it lives.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys

_LARGEST_BYTES, _SMALLEST_BYTES = 120 << 10, 512
_HEADER_BYTES = bytes.__basicsize__
_STATS_ROW = re.compile(rb"^ *\d+ +(\d+) +\d+ +\d+ +(\d+)$", re.MULTILINE)
_kept: list[object] = []


def fill() -> None:
    """Takes, for as long as the process lives, the blocks that the interpreter's allocator and the C library's have
    free between used ones."""
    for size, free in _free_blocks():
        _kept.extend([_block(size, i) for i in range(free)])
    _kept.extend(_blocks_of_libc())


def _free_blocks() -> list[tuple[int, int]]:
    """Reads size and number of the free blocks among used ones, from the interpreter's own report."""
    report = getattr(sys, "_debugmallocstats", None)
    if report is None:
        return []
    output, standard_error = os.memfd_create("output", os.MFD_CLOEXEC), os.dup(2)
    try:
        os.dup2(output, 2)
        report()
        os.dup2(standard_error, 2)
        text = os.pread(output, os.fstat(output).st_size, 0)
    finally:
        os.close(output)
        os.close(standard_error)
    return [(int(size), int(free)) for size, free in _STATS_ROW.findall(text)]


def _block(size: int, number: int) -> object:
    """Makes a new object of that size."""
    if size <= 16:
        return object()
    return (1 << 40) + number if size <= 32 else bytes(size - _HEADER_BYTES)


def _blocks_of_libc() -> list[bytes]:
    """Makes objects that fill the C library's free blocks below the end of its heap."""
    kept: list[bytes] = []
    sbrk = getattr(ctypes.CDLL(None), "sbrk", None)
    if sbrk is None:
        return kept
    sbrk.argtypes, sbrk.restype = [ctypes.c_ssize_t], ctypes.c_size_t
    end, size = sbrk(0), _LARGEST_BYTES
    while size > _SMALLEST_BYTES:
        block = bytes(size - _HEADER_BYTES)
        if id(block) + size < end:
            kept.append(block)
        else:
            size = size * 7 // 8
    return kept
