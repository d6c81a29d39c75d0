"""Program pages that every fork inherits as they are mapped here.

A fork inherits the page table of its parent's own memory, not that of mapped files: it asks the kernel for those pages
again, some sixty times in a small job, each at a microsecond or more. A mapping of which one page has become the
process's own is inherited whole. So the first byte of each is written once, unchanged, before any job's code is near.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import NamedTuple

_READ, _WRITE, _EXECUTE = 1, 2, 4
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Mapping(NamedTuple):
    """Memory into which a file is mapped, not to be written."""

    start: int
    size: int
    protection: int


def programs() -> list[Mapping]:
    """Where the interpreter and the C library are mapped. Needs /proc."""
    interpreter = os.path.realpath(sys.executable)
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            path = fields[5].strip() if len(fields) > 5 else ""
            if fields[1] not in ("r-xp", "r--p") or not path.startswith("/"):
                continue
            if path == interpreter or os.path.basename(path).startswith(("libpython", "libc.", "libc-")):
                start, end = (int(part, 16) for part in fields[0].split("-"))
                found.append(Mapping(start, end - start, _READ | (_EXECUTE if "x" in fields[1] else 0)))
    return found


def inherit(mappings: list[Mapping]) -> None:
    """Has forks inherit these, where the host allows it. Raises OSError where their protection can't be restored."""
    for start, size, protection in mappings:
        if _libc.mprotect(start, size, protection | _WRITE) == 0:
            ctypes.memmove(start, start, 1)
            if _libc.mprotect(start, size, protection) != 0:
                raise OSError(ctypes.get_errno(), "mprotect: a program's pages can't be made read-only again")
