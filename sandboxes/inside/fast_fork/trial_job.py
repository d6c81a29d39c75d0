"""Runs jobs in a template: small ones to warm its code up, and whole ones in forks whose written pages are recorded.

The interpreter specialises code that has run a few times, and caches what it looked up; each fork inherits that and
need not write it into pages of its own. The recorded jobs, two programs, use what most jobs use, so that what both
write is what most jobs write.
"""

from __future__ import annotations

import _socket
import marshal
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from berry.sandboxes import wire
from berry.sandboxes.inside import channel, child
from berry.sandboxes.jail import rlimits, syscalls

_PROGRAMS = (
    """
from typing import List, Optional


def f(numbers: List[int], least: Optional[int] = None) -> str:
    \'\'\' The numbers above the least one, as text.
    >>> f([3, 1, 2], 1)
    '2 3'
    \'\'\'
    found = {}
    for i, n in enumerate(sorted(numbers)):
        if least is None or n > least:
            found[str(n)] = found.get(str(n), 0) + i / 2.0
    return " ".join(text.strip() for text in list(found.keys())[:10])


TABLE = {"name": "trial", "kind": "test"}


def check(candidate):
    assert candidate([3, 1, 2]) == "1 2 3"
    assert candidate([3, 1, 2], 1) == "2 3", "the least"
    assert candidate([5, 7, 9, 11, 13, 17]) == "5 7 9 11 13 17"
    assert candidate([-1, -2, 1000], -2) == "-1 1000"
    assert candidate([]) == "" and candidate([1], 2) != candidate([1])


check(f)
""",
    """
from typing import Any, List, Tuple


def shortest(words: List[str], limit: Any = 3) -> Tuple[List[str], int]:
    \"\"\"Words up to a length, the shortest first, and how many letters they have together.\"\"\"
    chosen, total = [], 0
    while words and len(chosen) < 20:
        word = words.pop()
        if len(word) <= limit and word not in chosen:
            chosen.append(word)
            total += len(word)
    chosen.sort(key=len)
    return chosen, max(total, 1)


def test(function):
    assert function(["abc", "de", "f", "ghij"]) == (["f", "de", "abc"], 6)
    assert function(["abc", "de"], 2) == (["de"], 2)
    assert function([]) == ([], 1)
    assert function(["k", "k"]) == (["k"], 1)
    for size in range(5):
        assert len(function(["x" * (size + 1)])[0]) == int(size < 3)


test(shortest)
""",
)
_FUNCTION = """
def f(numbers, least=0):
    ''' The numbers above the least one, as text. '''
    return " ".join([str(n) for n in sorted(numbers) if n > least])
"""
_LIMITS = {
    "cpu_s": 10.0, "wall_s": 30.0, "memory_bytes": 1 << 29, "output_bytes": 1 << 20, "value_bytes": 1 << 20,
    "disk_bytes": 1 << 24, "files": 64, "processes": 32, "threads": 64,
}  # fmt: skip


class _NullChannel(channel.Channel):
    """A channel with no other end: it reads prepared frames and drops what is written."""

    def __init__(self) -> None:
        super().__init__()
        job = {"source": _FUNCTION, "module": "solution", "count": 1, "limits": {}}
        frames = marshal.dumps(job), wire.dumps(["call", "f", ([3, 1, 2],), {}])
        self._buffer = b"".join(map(wire.frame, frames))

    def reach(self, stage: int) -> None:
        pass

    def write(self, body: bytes) -> None:  # noqa: ARG002 (dropped)
        self._held = b""


def run_small_job() -> None:
    """Runs a small job in this process, from its first frame to its final frame."""
    null = _NullChannel()
    job = null.read_job()
    rlimits.apply_static()
    child.serve_calls(job, null, 1000)
    null.final_frame(0, "ok")
    del sys.modules["solution"]


class _ReportingChannel(channel.Channel):
    """A channel that calls back after its final frame, before the process ends."""

    def __init__(self, report: Callable[[], None]) -> None:
        super().__init__()
        self._report = report

    def farewell(self, status: int, outcome: str) -> NoReturn:
        self.final_frame(status, outcome)
        self._report()
        os._exit(0)


def trial_jobs() -> list[TrialJob]:
    """Makes two programs: what both write, most jobs write."""
    return [TrialJob(source) for source in _PROGRAMS]


class TrialJob:
    """Runs a program from the fork to its final frame, without the jail."""

    base_bytes = 1 << 40

    def __init__(self, source: str) -> None:
        self._pair = _socket.socketpair()
        self._files = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("in", "out", "err")]
        job = {"mode": "program", "source": source, "limits": _LIMITS}
        self._pair[0].send(wire.frame(marshal.dumps(job)))
        self._job = self._pair[1].fileno()
        self._call = syscalls.Bound("getppid")

    def tasks(self, wanted: int) -> int:
        """See `plan.SlotJail.tasks`."""
        return wanted + (1 << 20)

    def run(self, report: Callable[[], None]) -> NoReturn:
        """Runs the job in the calling process, whose last act is to call `report`."""
        self._call()
        os.setpgid(0, 0)
        os.getppid()
        os.chdir(".")
        for target, fd in enumerate((*self._files, self._job)):
            os.dup2(fd, target)
        os.set_blocking(channel.JOB_FD, True)
        child.main(self, "python", _ReportingChannel(report))

    def close(self) -> None:
        """Closes its sockets and files."""
        for end in self._pair:
            end.close()
        for fd in self._files:
            os.close(fd)
