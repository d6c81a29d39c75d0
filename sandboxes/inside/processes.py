"""Finds the processes and threads of a job in /proc."""

from __future__ import annotations

import contextlib
import os


def descendants(top: int) -> set[int]:
    """Finds every process below `top`."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    below_top: set[int] = set()
    stack = [top]
    while stack:
        below = [pid for pid in children.get(stack.pop(), ()) if pid not in below_top]
        below_top.update(below)
        stack += below
    return below_top


def threads_of(pid: int) -> int:
    """Counts a process's threads; 0 where it has ended."""
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0
