"""Runs a long-lived tool of the host in the jail, with pipes to it; see `berry.sandboxes.inside.confine`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

from berry.sandboxes.host.template import ROOT, clean_environment
from berry.sandboxes.inside import processes
from berry.sandboxes.inside.confine import CONFINING_FAILED

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from berry.sandboxes.inside.confine import main; "
    "del sys.path[0]; main()"
)
_QUIET = {"UV_USE_IO_URING": "0"}  # libuv, which Lean is linked with, would try a call that ends the process
MEMORY_POLL_S = 0.05
"""Time between two measurements of a tool's memory."""


class ConfinedTool:
    """A confined process, with pipes to and from it. It is killed when its memory goes over `memory_bytes`: what is
    resident without mapped files, which it shares with others, and what the kernel holds for it. Address space says
    nothing where every thread reserves 1 GiB."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: int, memory_bytes: int) -> None:
        self.process = process
        self.over_memory = False
        self._stderr = stderr
        self._memory_bytes = memory_bytes
        self._watching = asyncio.create_task(self._watch())

    def stderr_tail(self) -> str:
        """Reads the end of its standard error."""
        size = os.fstat(self._stderr).st_size
        return os.pread(self._stderr, 500, max(0, size - 500)).decode(errors="replace").strip()

    @property
    def never_began(self) -> bool:
        """Whether it ended because it could not be confined or executed."""
        return self.process.returncode == CONFINING_FAILED

    async def close(self) -> None:
        """Kills it if it still runs."""
        self._watching.cancel()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        os.close(self._stderr)

    async def _watch(self) -> None:
        while self.process.returncode is None:
            if taken_bytes(self.process.pid) > self._memory_bytes:
                self.over_memory = True
                self.process.kill()
                return
            await asyncio.sleep(MEMORY_POLL_S)


def taken_bytes(pid: int) -> int:
    """Measures the memory that a process takes: its own, shared memory, page tables, pipes and sockets; 0 where it has
    ended."""
    try:
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return processes.memory_of(proc, pid) + processes.buffer_bytes(proc, [pid])
    except OSError:
        return 0
    finally:
        os.close(proc)


async def open_confined(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | None,
    readable: Sequence[str],
    cpu_s: int,
    memory_bytes: int,
    isolation: Literal["auto", "none"] = "auto",
    line_bytes: int = 1 << 20,
) -> ConfinedTool:
    """Starts the executable `argv[0]` (an absolute path), which may read `readable` and the system's own directories.
    `cpu_s` is of its whole life; `line_bytes` bounds a line read from it."""
    options = {
        "argv": list(argv), "env": clean_environment() | _QUIET | dict(env), "readable": list(readable), "cpu_s": cpu_s,
        "isolation": isolation,
    }  # fmt: skip
    stderr = os.memfd_create("stderr", os.MFD_CLOEXEC)
    python = getattr(sys, "_base_executable", None) or sys.executable
    try:
        process = await asyncio.create_subprocess_exec(
            python, "-s", "-S", "-P", "-B", "-c", _BOOT, ROOT, json.dumps(options),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr, env=clean_environment(),
            cwd=cwd, limit=line_bytes, start_new_session=True,
        )  # fmt: skip
    except BaseException:
        os.close(stderr)
        raise
    return ConfinedTool(process, stderr, memory_bytes)
