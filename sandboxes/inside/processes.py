"""Finds the processes of a job in /proc and adds up what they use.

A shell job is many processes, and each has its own clock and its own memory: only their sums tell what the job takes.
`proc` is a descriptor on /proc, opened before the jail hid it; its numbers are those of the host's own PID namespace,
so that a slot finds itself by `/proc/self`.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """What a tree of processes takes now: CPU seconds with those of children that were waited for, resident bytes
    without what is shared with others, and threads."""

    cpu_s: float
    memory_bytes: int
    threads: int


def _read(proc: int, path: str) -> str:
    """The text of a file below /proc; raises OSError where its process has ended."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        return os.read(fd, 1 << 16).decode("ascii", "replace")
    finally:
        os.close(fd)


def _names(proc: int, path: str) -> list[str]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def own_number(proc: int) -> int:
    """Reads this process's number in /proc."""
    return int(os.readlink("self", dir_fd=proc))


def descendants(proc: int, top: int) -> set[int]:
    """Finds every process below `top`."""
    below_top: set[int] = set()
    stack = [top]
    try:
        while stack:
            fresh = set(_children(proc, stack.pop())) - below_top
            below_top |= fresh
            stack += fresh
    except NotImplementedError:
        return _descendants_by_parent(proc, top)
    return below_top


def _children(proc: int, pid: int) -> list[int]:
    """Lists a process's children, threads' included. Raises NotImplementedError where the kernel has no such list."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in _names(proc, f"{pid}/task"):
            try:
                found += map(int, _read(proc, f"{pid}/task/{thread}/children").split())
            except FileNotFoundError:
                if "children" not in _names(proc, f"{pid}/task/{pid}"):
                    raise NotImplementedError from None
    return found


def _descendants_by_parent(proc: int, top: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for name in _names(proc, "."):
        if name.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(proc, int(name))[1]), []).append(int(name))
    below_top: set[int] = set()
    stack = [top]
    while stack:
        below = [pid for pid in children.get(stack.pop(), ()) if pid not in below_top]
        below_top.update(below)
        stack += below
    return below_top


def _stat(proc: int, pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    return _read(proc, f"{pid}/stat").rpartition(")")[2].split()


def tree_usage(proc: int, top: int) -> Usage:
    """Adds up what the processes below `top` take."""
    ticks = pages = threads = 0
    for pid in descendants(proc, top):
        with contextlib.suppress(OSError):
            fields = _stat(proc, pid)
            ticks += sum(map(int, fields[11:15]))
            threads += int(fields[17])
            _, resident, shared, *_ = map(int, _read(proc, f"{pid}/statm").split())
            pages += resident - shared
    return Usage(ticks / _TICKS_PER_S, pages * _PAGE_BYTES, threads)


class TreeClock:
    """Counts the CPU time of a changing tree of processes, those included whose parent never waited for them, as far as
    they were seen."""

    def __init__(self) -> None:
        self._lost_s = self._last_s = self.total_s = 0.0

    def read(self, usage: Usage) -> float:
        """CPU seconds so far."""
        self._lost_s += max(0.0, self._last_s - usage.cpu_s)
        self._last_s = usage.cpu_s
        self.total_s = self._lost_s + usage.cpu_s
        return self.total_s


def threads_of(pid: int) -> int:
    """Counts a process's threads; 0 where it has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0
