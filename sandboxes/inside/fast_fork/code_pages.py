"""Puts program code where forks inherit it, so that they need not ask the kernel for its pages.

A fork inherits the page table of its parent's own memory, not that of mapped files: it asks the kernel for those pages
again, some sixty times in a small job, each at a microsecond or more, and it pays for every mapping. Three things help,
all done before any job's code runs:

    enlarge   the interpreter's code is copied onto huge pages, one entry of the page table for 512
    join      a library's code and the constants around it become one mapping of three
    inherit   one byte of what stays mapped from a file is written, unchanged: a mapping of which one page has become
              the process's own is inherited whole

Where the host allows none of them, forks are slower.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys

from berry.sandboxes.inside.fast_fork.memory_maps import EXECUTE, READ, WRITE, Mapping, mappings

BIND_NOW = "LD_BIND_NOW"
"""Environment variable that has the loader look up all functions at the start, not each in the fork that calls it."""
_PRIVATE_ANONYMOUS, _MAYMOVE_FIXED, _HUGEPAGE = 0x22, 3, 14
_FAILED = ctypes.c_void_p(-1).value
_HUGE_PAGE_BYTES = 2 << 20
"""On x86_64, the only machine type for which this is done."""
_libc = ctypes.CDLL(None, use_errno=True)
_address, _size, _int = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_libc.mprotect.argtypes = [_address, _size, _int]
_libc.madvise.argtypes = [_address, _size, _int]
_libc.munmap.argtypes = [_address, _size]
_libc.mmap.argtypes, _libc.mmap.restype = [_address, _size, _int, _int, _int, ctypes.c_long], _address
_libc.mremap.argtypes, _libc.mremap.restype = [_address, _size, _size, _int, _address], _address


def mapped(proc: int) -> list[Mapping]:
    """Reads every mapping of a file that is not writable. `proc` is a descriptor on /proc. Raises OSError where that is
    closed."""
    return [m for m in mappings(proc) if m.rights in ("r-xp", "r--p") and m.path.startswith("/")]


def programs(proc: int) -> list[Mapping]:
    """Reads where the interpreter and the C library are mapped. Raises OSError where /proc is closed."""
    return [
        m for m in mapped(proc) if _is_interpreter(m.path) or os.path.basename(m.path).startswith(("libc.", "libc-"))
    ]


def _is_interpreter(path: str) -> bool:
    return os.path.basename(path).startswith("libpython") or path == os.path.realpath(sys.executable)


def join(files: list[Mapping]) -> None:
    """Makes one mapping of each file's code and the constants just before and behind it; they become executable too.
    What was written to once, as tables of addresses are, comes after these and stays as it is."""
    for before, code, behind in zip(files, files[1:], files[2:], strict=False):
        stretch = [one for one in (before, code, behind) if one.path == code.path]
        joint = all(
            a.start + a.size == b.start and a.offset + a.size == b.offset for a, b in itertools.pairwise(stretch)
        )
        if joint and len(stretch) == 3 and [one.protection for one in stretch] == [READ, READ | EXECUTE, READ]:
            _libc.mprotect(before.start, before.size + code.size + behind.size, READ | EXECUTE)


def inherit(files: list[Mapping]) -> None:
    """Has forks inherit the page tables of these mappings, where the host allows it. Raises OSError where their
    protection can't be restored."""
    for one in files:
        if _libc.mprotect(one.start, one.size, one.protection | WRITE) == 0:
            ctypes.memmove(one.start, one.start, 1)
            if _libc.mprotect(one.start, one.size, one.protection) != 0:
                raise OSError(ctypes.get_errno(), "mprotect: a program's pages can't be made read-only again")


def enlarge(proc: int) -> bool:
    """Puts as much of the interpreter's code as fills huge pages onto them, at its own address. The copy takes the
    original's place in one call and equals it, so that this may be done to running code. Constants between code become
    executable too. Returns whether it was done."""
    if os.uname().machine != "x86_64":
        return False
    huge = _HUGE_PAGE_BYTES
    start, end = _code(proc)
    start, end = -(-start // huge) * huge, end // huge * huge
    size = end - start
    if size <= 0:
        return False
    room = _libc.mmap(None, size + huge, READ | WRITE, _PRIVATE_ANONYMOUS, -1, 0)
    if room == _FAILED:
        return False
    copy = -(-room // huge) * huge
    _libc.madvise(copy, size, _HUGEPAGE)
    ctypes.memmove(copy, start, size)
    moved = _huge_bytes(copy, proc) == size and _libc.mprotect(copy, size, READ | EXECUTE) == 0
    moved = moved and _libc.mremap(copy, size, size, _MAYMOVE_FIXED, start) == start
    if moved:
        _libc.munmap(copy + size, room + huge - copy)
    if not moved or copy > room:
        _libc.munmap(room, copy - room if moved else size + huge)
    return moved


def _code(proc: int) -> tuple[int, int]:
    """Finds the longest unbroken stretch of the interpreter's mappings that has code in it: start and end address."""
    start, end, code, best = 0, 0, False, (0, 0)
    for mapping in [m for m in mapped(proc) if _is_interpreter(m.path)]:
        if mapping.start != end:
            start, code = mapping.start, False
        end = mapping.start + mapping.size
        code = code or bool(mapping.protection & EXECUTE)
        if code and end - start > best[1] - best[0]:
            best = (start, end)
    return best


def _huge_bytes(start: int, proc: int) -> int:
    """Reads how many bytes of the mapping that begins here are on huge pages."""
    inside = False
    with open(os.open("self/smaps", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)) as maps:
        for line in maps:
            name = line.split(maxsplit=1)[0]
            if "-" in name:
                inside = name.startswith(f"{start:x}-")
            elif inside and name == "AnonHugePages:":
                return int(line.split()[1]) << 10
    return 0
