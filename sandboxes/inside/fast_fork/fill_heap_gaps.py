"""Room for new objects in one piece.

What imports leave free lies between what they keep, a few bytes here and there, and the allocators hand that out first:
a small job's own objects would come to lie on a hundred pages of which each holds little of it and must be copied
whole. So a template takes these gaps itself, for good, and the objects of its forks lie side by side.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys

_LARGEST, _SMALLEST = 120 << 10, 512
_HEADER = bytes.__basicsize__
_ROW = re.compile(rb"^ *\d+ +(\d+) +\d+ +\d+ +(\d+)$", re.MULTILINE)


_kept: list[object] = []


def close_gaps() -> None:
    """Fills, for as long as the process lives, what the interpreter's allocator and the C library's have free between
    other things."""
    for size, free in _free_blocks():
        _kept.extend([_block(size, i) for i in range(free)])
    _kept.extend(_large())


def _free_blocks() -> list[tuple[int, int]]:
    """Size and number of the free blocks that lie among used ones, as the interpreter tells."""
    report = getattr(sys, "_debugmallocstats", None)
    if report is None:
        return []
    told, standard_error = os.memfd_create("told", os.MFD_CLOEXEC), os.dup(2)
    try:
        os.dup2(told, 2)
        report()
        os.dup2(standard_error, 2)
        text = os.pread(told, os.fstat(told).st_size, 0)
    finally:
        os.close(told)
        os.close(standard_error)
    return [(int(size), int(free)) for size, free in _ROW.findall(text)]


def _block(size: int, number: int) -> object:
    """A new object of that size."""
    if size <= 16:
        return object()
    return (1 << 40) + number if size <= 32 else bytes(size - _HEADER)


def _large() -> list[bytes]:
    """Objects in the C library's gaps, which lie below the end of its heap."""
    kept: list[bytes] = []
    sbrk = getattr(ctypes.CDLL(None), "sbrk", None)
    if sbrk is None:
        return kept
    sbrk.argtypes, sbrk.restype = [ctypes.c_ssize_t], ctypes.c_size_t
    end, size = sbrk(0), _LARGEST
    while size > _SMALLEST:
        one = bytes(size - _HEADER)
        if id(one) + size < end:
            kept.append(one)
        else:
            size = size * 7 // 8
    return kept
