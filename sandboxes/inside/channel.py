"""What every kind of child needs: frames on the job's socket, a fresh module, compiled source, described
errors."""

from __future__ import annotations

import builtins
import os
import sys
import types
from typing import Any, BinaryIO

from sandboxes import wire

JOB_FD = 3
MAX_ERROR = 2000
READY = b"ready"
"""First frame of every child: it is confined and limited, and none of the job's code has run. A child that
ends without it is the sandbox's fault."""


class Channel:
    """Frames to and from the host over the job's socket."""

    def __init__(self) -> None:
        self._in: BinaryIO = open(JOB_FD, "rb", closefd=False)  # noqa: SIM115

    def read(self) -> Any:
        """The next message; SystemExit when the host has closed its end."""
        head = self._in.read(4)
        if len(head) < 4:
            os._exit(0)
        return wire.loads(self._in.read(int.from_bytes(head, sys.byteorder)))

    def write(self, body: bytes) -> None:
        data = memoryview(wire.frame(body))
        while data:
            data = data[os.write(JOB_FD, data) :]


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
