"""Program pages that every fork has at once.

A fork inherits the page table of its parent's own memory, not that of mapped files: it asks the kernel for those pages
again, some sixty times in a small job, each at a microsecond or more. Two things are done about it, before any job's
code is near:

    enlarge   the interpreter's code is copied onto huge pages, one entry of the page table for 512
    inherit   one byte of what stays mapped from a file is written, unchanged: a mapping of which one page has become
              the process's own is inherited whole

Where the host allows neither, forks are slower and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import NamedTuple

_READ, _WRITE, _EXECUTE = 1, 2, 4
_PRIVATE_ANONYMOUS, _MAYMOVE_FIXED, _HUGEPAGE = 0x22, 3, 14
_FAILED = ctypes.c_void_p(-1).value
_HUGE_SIZE = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"
_libc = ctypes.CDLL(None, use_errno=True)
_address, _size, _int = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_libc.mprotect.argtypes = [_address, _size, _int]
_libc.madvise.argtypes = [_address, _size, _int]
_libc.munmap.argtypes = [_address, _size]
_libc.mmap.argtypes, _libc.mmap.restype = [_address, _size, _int, _int, _int, ctypes.c_long], _address
_libc.mremap.argtypes, _libc.mremap.restype = [_address, _size, _size, _int, _address], _address


class Mapping(NamedTuple):
    """Memory into which a file is mapped, not to be written."""

    start: int
    size: int
    protection: int
    path: str


def programs() -> list[Mapping]:
    """Where the interpreter and the C library are mapped. Needs /proc."""
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            path = fields[5].strip() if len(fields) > 5 else ""
            if fields[1] not in ("r-xp", "r--p") or not path.startswith("/"):
                continue
            if _is_interpreter(path) or os.path.basename(path).startswith(("libc.", "libc-")):
                start, end = (int(part, 16) for part in fields[0].split("-"))
                protection = _READ | (_EXECUTE if "x" in fields[1] else 0)
                found.append(Mapping(start, end - start, protection, path))
    return found


def _is_interpreter(path: str) -> bool:
    return os.path.basename(path).startswith("libpython") or path == os.path.realpath(sys.executable)


def inherit(mappings: list[Mapping]) -> None:
    """Has forks inherit these, where the host allows it. Raises OSError where their protection can't be restored."""
    for start, size, protection, _ in mappings:
        if _libc.mprotect(start, size, protection | _WRITE) == 0:
            ctypes.memmove(start, start, 1)
            if _libc.mprotect(start, size, protection) != 0:
                raise OSError(ctypes.get_errno(), "mprotect: a program's pages can't be made read-only again")


def enlarge() -> bool:
    """Puts as much of the interpreter's code as fills huge pages onto them, at its own address. The copy takes the
    original's place in one call and equals it, so that this may be done to running code. Constants between code become
    executable too. Says whether it was done."""
    if os.uname().machine != "x86_64" or not os.path.exists(_HUGE_SIZE):
        return False
    with open(_HUGE_SIZE) as f:
        huge = int(f.read())
    start, end = _code()
    start, end = -(-start // huge) * huge, end // huge * huge
    size = end - start
    if size <= 0:
        return False
    room = _libc.mmap(None, size + huge, _READ | _WRITE, _PRIVATE_ANONYMOUS, -1, 0)
    if room == _FAILED:
        return False
    copy = -(-room // huge) * huge
    _libc.madvise(copy, size, _HUGEPAGE)
    ctypes.memmove(copy, start, size)
    moved = _huge_bytes(copy) == size and _libc.mprotect(copy, size, _READ | _EXECUTE) == 0
    moved = moved and _libc.mremap(copy, size, size, _MAYMOVE_FIXED, start) == start
    if moved:
        _libc.munmap(copy + size, room + huge - copy)
    if not moved or copy > room:
        _libc.munmap(room, copy - room if moved else size + huge)
    return moved


def _code() -> tuple[int, int]:
    """The longest unbroken stretch of the interpreter's mappings that has code in it."""
    start, end, code, best = 0, 0, False, (0, 0)
    for mapping in [m for m in programs() if _is_interpreter(m.path)]:
        if mapping.start != end:
            start, code = mapping.start, False
        end = mapping.start + mapping.size
        code = code or bool(mapping.protection & _EXECUTE)
        if code and end - start > best[1] - best[0]:
            best = (start, end)
    return best


def _huge_bytes(start: int) -> int:
    """Bytes on huge pages in the mapping that begins here."""
    inside = False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            name = line.split(maxsplit=1)[0]
            if "-" in name:
                inside = name.startswith(f"{start:x}-")
            elif inside and name == "AnonHugePages:":
                return int(line.split()[1]) << 10
    return 0
