"""Carries frames on the job's socket, and makes modules, compiles source and describes errors for every kind of
child."""

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
FINAL_FRAME = b"end"
"""How a child's final frame begins."""
FINAL_NUMBERS = struct.Struct("=Bdq")
"""What follows in the final frame: status, CPU seconds, peak bytes; then the outcome."""
FIRST_READ_BYTES, READ_BYTES = 1 << 13, 1 << 20
MAX_ERROR_CHARS = 2000
_REFERENCE = b'{"~":"x"'
_exit, _write, _compile = os._exit, os.write, compile  # whatever the job makes of them


class Channel:
    """Reads and writes frames over the job's socket. Plain reads: a buffered file object would cost the
    fork more pages than it saves calls."""

    def __init__(self) -> None:
        self._buffer = self._held = b""
        self.has_references = False
        self._at = 0

    def _take(self, n: int) -> bytes:
        """Takes the next `n` bytes; ends the process when the host has closed its end."""
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
        """Reads the first message, which comes from the host alone: see `berry.sandboxes.jobs.python.header`."""
        return marshal.loads(self._take(int.from_bytes(self._take(4), sys.byteorder)))

    def read(self) -> Any:
        """Reads the next message."""
        body = self._take(int.from_bytes(self._take(4), sys.byteorder))
        self.has_references = _REFERENCE in body
        return wire.loads(body, references=self.has_references)

    def write(self, body: bytes) -> None:
        """Sends a frame, behind the one that was held back."""
        data, self._held = self._held + wire.frame(body), b""
        sent = _write(JOB_FD, data)
        while sent < len(data):
            sent += _write(JOB_FD, data[sent:])

    def reach(self, stage: int) -> None:
        """Records which stage this process has reached."""
        stages.reach(stage)

    def hold(self, body: bytes) -> None:
        """Keeps a frame until the next one: the host wakes once for both."""
        self._held += wire.frame(body)

    def farewell(self, status: int, outcome: str) -> NoReturn:
        """Sends the final frame and ends the process. The host goes on from here; it need not wait until the kernel
        has taken the process apart. Where the job has closed the channel, its exit status alone tells how it ended."""
        status = status & 0xFF or int(outcome != "ok")
        try:
            self.final_frame(status, outcome)
        finally:
            _exit(status)

    def final_frame(self, status: int, outcome: str) -> None:
        """Sends status, CPU seconds, peak bytes and outcome."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        numbers = FINAL_NUMBERS.pack(status & 0xFF, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
        self.write(FINAL_FRAME + numbers + outcome.encode())


def new_module(name: str) -> types.ModuleType:
    """Makes a module of this name, in its place in `sys.modules`, with the built-in names."""
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    sys.modules[name] = module
    return module


def compile_source(source: str, name: str, mode: str = "exec") -> types.CodeType:
    """Compiles source; every way of failing to parse is a SyntaxError."""
    try:
        return _compile(source, name, mode, dont_inherit=True)
    except (ValueError, OverflowError, RecursionError) as e:
        raise SyntaxError(str(e)) from None


def describe(error: BaseException) -> tuple[str, str]:
    """Reads type name and text of an exception, whatever its own methods do."""
    try:
        text = str(error)[:MAX_ERROR_CHARS]
    except BaseException:  # noqa: BLE001 (a hostile __str__)
        text = "(no text)"
    return type(error).__name__, text
