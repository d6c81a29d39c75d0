"""What every kind of child needs: frames on the job's socket, a fresh module, compiled source, described
errors."""

from __future__ import annotations

import builtins
import marshal
import os
import resource
import struct
import sys
import types
from typing import Any, NoReturn

from berry.sandboxes import wire
from berry.sandboxes.inside import stages

JOB_FD = 3
LAST = b"end"
"""How a child's last frame begins."""
WORDS = struct.Struct("=Bdq")
"""What follows: status, CPU seconds, peak bytes; then the outcome."""
FIRST_READ_BYTES, READ_BYTES = 1 << 13, 1 << 20
MAX_ERROR = 2000


class Channel:
    """Frames to and from the host over the job's socket. Plain reads: a buffered file object would cost the
    fork more pages than it saves calls."""

    def __init__(self) -> None:
        self._buffer = self._held = b""
        self._at = 0

    def _take(self, n: int) -> bytes:
        """The next `n` bytes; ends the process when the host has closed its end."""
        held = len(self._buffer) - self._at
        if held < n:
            parts = [self._buffer[self._at :]]
            while held < n:
                parts.append(os.read(JOB_FD, max(FIRST_READ_BYTES, min(n - held, READ_BYTES))))
                if not parts[-1]:
                    os._exit(0)
                held += len(parts[-1])
            self._buffer, self._at = b"".join(parts), 0
        self._at += n
        return self._buffer[self._at - n : self._at]

    def read_job(self) -> Any:
        """The first message, which comes from the host alone: see `berry.sandboxes.jobs.python.header`."""
        return marshal.loads(self._take(int.from_bytes(self._take(4), sys.byteorder)))

    def read(self) -> Any:
        """The next message."""
        return wire.loads(self._take(int.from_bytes(self._take(4), sys.byteorder)))

    def write(self, body: bytes) -> None:
        data, self._held = self._held + wire.frame(body), b""
        sent = os.write(JOB_FD, data)
        while sent < len(data):
            sent += os.write(JOB_FD, data[sent:])

    def reach(self, stage: int) -> None:
        """Leaves a mark of how far this process came."""
        stages.reach(stage)

    def hold(self, body: bytes) -> None:
        """Keeps a frame until the next one: the host wakes once for both."""
        self._held += wire.frame(body)

    def farewell(self, status: int, outcome: str) -> NoReturn:
        """Says that all is said and done, with what it cost, and ends the process. The host goes on from
        here; it need not wait until the kernel has taken the process apart."""
        self.last_words(status, outcome)
        os._exit(status & 0xFF)

    def last_words(self, status: int, outcome: str) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        numbers = WORDS.pack(status & 0xFF, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
        self.write(LAST + numbers + outcome.encode())


def new_module(name: str) -> types.ModuleType:
    """A module of this name, in its place in `sys.modules`, with the built-in names."""
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    sys.modules[name] = module
    return module


def compile_source(source: str, name: str, mode: str = "exec") -> types.CodeType:
    """Compiled source; every way of failing to parse is a SyntaxError."""
    try:
        return compile(source, name, mode, dont_inherit=True)
    except (ValueError, OverflowError, RecursionError) as e:
        raise SyntaxError(str(e)) from None


def describe(error: BaseException) -> tuple[str, str]:
    """Type name and text of an exception, whatever its own methods do."""
    try:
        text = str(error)[:MAX_ERROR]
    except BaseException:  # noqa: BLE001 (a hostile __str__)
        text = "(no text)"
    return type(error).__name__, text
