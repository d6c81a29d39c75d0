"""A small job that a template gives itself before it forks anything.

The interpreter tunes code that has run a few times, and keeps at hand what it looked up once. Each fork finds that done
and need not write it into pages of its own. It leaves nothing behind that a job could tell from its absence.
"""

from __future__ import annotations

import json
import sys

from sandboxes import wire
from sandboxes.inside import channel, child
from sandboxes.jail import rlimits

_SOURCE = """
def f(numbers, least=0):
    found = [str(n) for n in numbers if n > least]
    return " ".join(found)
"""
_FRAMES = [
    json.dumps({"source": _SOURCE, "module": "solution", "count": 1, "limits": {"cpu_s": 1.5}}).encode(),
    wire.dumps(["call", "f", ([1, 2, 3],), {}]),
]


class _Mirror(channel.Channel):
    """A channel with no other end: it reads the rehearsal's frames and writes to nobody."""

    def __init__(self) -> None:
        super().__init__()
        self._buffer = b"".join(map(wire.frame, _FRAMES))

    def reach(self, stage: int) -> None:
        pass

    def write(self, body: bytes) -> None:  # noqa: ARG002 (nobody gets it)
        self._held = b""


def rehearse() -> None:
    """Goes a job's way from its frame to its last words."""
    mirror = _Mirror()
    job = mirror.read_job()
    rlimits.apply_static()
    child.serve_calls(job, mirror, 1000)
    mirror.last_words(0, "ok")
    del sys.modules["solution"]
