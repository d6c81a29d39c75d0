"""What /proc says about the processes of a job."""

from __future__ import annotations

import contextlib
import os


def descendants(top: int) -> set[int]:
    """Every process below `top`, from /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    stack = [top]
    while stack:
        below = [pid for pid in children.get(stack.pop(), ()) if pid not in found]
        found.update(below)
        stack += below
    return found


def threads_of(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0
