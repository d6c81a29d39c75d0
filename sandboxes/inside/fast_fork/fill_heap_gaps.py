"""Fills the gaps in the heap, so that objects of forks lie side by side.

Imports leave free blocks between the ones they keep, and the allocators hand those out first: the objects of a small
job would lie on a hundred pages, of which each holds little of it and must be copied whole. So a template takes these
blocks itself, for as long as it lives, and gives back to the kernel the pages that hold nothing else: a fork copies an
entry for each page that is there.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator

_LARGEST_BYTES, _SMALLEST_BYTES = 120 << 10, 512
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_MADV_DONTNEED = 4
_STATS_ROW = re.compile(rb"^ *\d+ +(\d+) +\d+ +\d+ +(\d+)$", re.MULTILINE)

Block = tuple[int, int]
"""Where a block begins and ends, in bytes."""


def fill() -> int:
    """Takes, for as long as the process lives, the blocks that the interpreter's allocator and the C library's have
    free between used ones. Returns how many pages that hold nothing else were given back."""
    return _give_back([*_blocks_of_interpreter(), *_blocks_of_libc()])


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


def _blocks_of_interpreter() -> Iterator[Block]:
    """Takes the blocks by its allocator's own function, so that no object stands in them that anything could read."""
    take = ctypes.PyDLL(None).PyObject_Malloc
    take.argtypes, take.restype = [ctypes.c_size_t], ctypes.c_void_p
    for size, free in _free_blocks():
        for _ in range(free):
            if place := take(size):
                yield place, place + size


def _blocks_of_libc() -> Iterator[Block]:
    """Takes the C library's free blocks below the end of its heap; a block above it is given back."""
    library = ctypes.CDLL(None)
    sbrk = getattr(library, "sbrk", None)
    if sbrk is None:
        return
    sbrk.argtypes, sbrk.restype = [ctypes.c_ssize_t], ctypes.c_size_t
    library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    end, size = sbrk(0), _LARGEST_BYTES
    while size > _SMALLEST_BYTES:
        place = library.malloc(size)
        if place and place + size < end:
            yield place, place + size
        else:
            library.free(place)
            size = size * 7 // 8


def _give_back(blocks: list[Block]) -> int:
    """Drops the pages that lie wholly in these blocks, or in some that touch each other; their number."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    pages = 0
    for begin, end in _joined(blocks):
        first, last = -(-begin // _PAGE_BYTES), end // _PAGE_BYTES
        if first < last and madvise(first * _PAGE_BYTES, (last - first) * _PAGE_BYTES, _MADV_DONTNEED) == 0:
            pages += last - first
    return pages


def _joined(blocks: list[Block]) -> list[Block]:
    """The same stretches of memory, those that touch as one, in order."""
    joined: list[Block] = []
    for begin, end in sorted(blocks):
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined
