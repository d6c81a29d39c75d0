"""Finds the processes of a job in /proc and adds up what they use.

A shell job is many processes, and each has its own clock and its own memory: only their sums tell what the job takes.
`proc` is a descriptor on /proc, opened before the jail hid it; its numbers are those of the host's own PID namespace,
so that a slot finds itself by `/proc/self`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from berry.sandboxes.jail.rlimits import SOCKET_BYTES

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_BUFFER_BYTES = {"pipe": 1 << 16, "socket": SOCKET_BYTES}
"""What a pipe and a socket hold, as the kernel makes them; jobs can't enlarge them."""


class Usage(NamedTuple):
    """What a tree of processes takes now: CPU seconds with those of children that were waited for, resident bytes of
    its own, of memory that it shares, of page tables and of buffers, mapped files left out, and threads."""

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
    ticks = threads = 0
    pids = descendants(proc, top)
    memory_bytes = buffer_bytes(proc, pids)
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = _stat(proc, pid)
            ticks += sum(map(int, fields[11:15]))
            threads += int(fields[17])
            memory_bytes += memory_of(proc, pid)
    return Usage(ticks / _TICKS_PER_S, memory_bytes, threads)


def number_of(proc: int, pidfd: int) -> int:
    """Reads the number in /proc of a process that this one holds a descriptor on. Raises OSError or ValueError where it
    has ended."""
    text = _read(proc, f"self/fdinfo/{pidfd}")
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pid:")))


def memory_of(proc: int, pid: int) -> int:
    """Reads the resident bytes of a process: its own, and those that no limit of the kernel counts, of shared memory,
    files in memory and page tables; mapped files are left out. Raises OSError where it has ended."""
    lines = _read(proc, f"{pid}/status").splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon:", "RssShmem:", "VmPTE:")))


def buffer_bytes(proc: int, pids: Iterable[int]) -> int:
    """Measures how much the pipes and sockets that processes hold open can have in the kernel, at most. Processes that
    may not be looked into count nothing."""
    held: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for name in _names(proc, f"{pid}/fd"):
                with contextlib.suppress(OSError):
                    held.add(os.readlink(f"{pid}/fd/{name}", dir_fd=proc))
    return sum(_BUFFER_BYTES.get(link.partition(":")[0], 0) for link in held)


def nameless_bytes(proc: int, pids: Iterable[int], directory: str, device: int) -> int:
    """Measures the files below a directory, on its device, that processes hold open or mapped without a name. What is
    mapped and no longer open counts as far as it is mapped: only its owner can ask for its blocks. Processes that may
    not be looked into count nothing."""
    opened: dict[int, int] = {}
    mapped: dict[tuple[int, int], int] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for name in _names(proc, f"{pid}/fd"):
                with contextlib.suppress(OSError):
                    file = os.stat(f"{pid}/fd/{name}", dir_fd=proc)
                    if file.st_dev == device and not file.st_nlink and stat.S_ISREG(file.st_mode):
                        opened[file.st_ino] = file.st_blocks * 512
        with contextlib.suppress(OSError):
            for inode, offset, size in _removed_mappings(proc, pid, directory):
                mapped[inode, offset] = max(size, mapped.get((inode, offset), 0))
    return sum(opened.values()) + sum(size for (inode, _), size in mapped.items() if inode not in opened)


def _removed_mappings(proc: int, pid: int, directory: str) -> Iterator[tuple[int, int, int]]:
    """Lists what a process has mapped of removed files below a directory: inode, offset, bytes."""
    with open(os.open(f"{pid}/maps", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), errors="replace") as lines:
        for line in lines:
            if line.endswith(" (deleted)\n"):
                span, _, offset, _, inode, path = line.split(maxsplit=5)
                start, end = (int(part, 16) for part in span.split("-"))
                if path.startswith(directory + "/"):
                    yield int(inode), int(offset, 16), end - start


class TreeClock:
    """Counts the CPU time of a changing tree of processes, those included whose parent never waited for them, as far as
    they were seen."""

    def __init__(self) -> None:
        self._lost_s = self._last_s = self.total_s = 0.0

    def read(self, usage: Usage) -> float:
        """CPU seconds that the tree of processes has taken so far, by its newest `usage`."""
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
