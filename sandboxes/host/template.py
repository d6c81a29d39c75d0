"""Starts a template, an exec'd interpreter with a profile's modules, and asks it for slots over its control socket."""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import berry
from berry.sandboxes.base import SandboxError, SlotDied
from berry.sandboxes.host.slot import SlotHandle
from berry.sandboxes.inside import workdir
from berry.sandboxes.inside.fast_fork import code_pages
from berry.sandboxes.jail.plan import JailPlan

ROOT = str(Path(berry.__file__).parent.parent)
"""The folder that holds the package `berry`; its links to the folders beside it stay as they are."""
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from berry.sandboxes.inside.template import main; "
    "del sys.path[0]; sys.argv = ['']; main()"
)
_MAX_MESSAGE_BYTES = 1 << 16


def clean_environment() -> dict[str, str]:
    """Makes the environment variables that jobs see: none of the host's own."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": ".", "TMPDIR": ".", "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }  # fmt: skip


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Template:
    """One exec'd interpreter with a profile's modules loaded; see `berry.sandboxes.inside.template`."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, errors: int) -> None:
        self.process, self.control, self._errors = process, control, errors
        self.hello: dict[str, Any] = {}

    @property
    def plan(self) -> JailPlan:
        """What is on, as it reported."""
        fields: dict[str, Any] = self.hello["plan"]
        return JailPlan(**{name: _frozen(value) for name, value in fields.items()})

    def stderr_tail(self) -> str:
        """Reads the end of what it and its slots printed."""
        if self._errors < 0:
            return ""
        size = os.fstat(self._errors).st_size
        return os.pread(self._errors, 2000, max(0, size - 2000)).decode(errors="replace").strip()

    @classmethod
    async def start(cls, options: dict[str, Any], *, launcher: tuple[str, ...], start_s: float = 120.0) -> Template:
        """Execs the interpreter (behind `launcher`, if any) and waits for its hello; raises SandboxError
        with what it printed."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        errors = os.memfd_create("errors", os.MFD_CLOEXEC)
        python = getattr(sys, "_base_executable", None) or sys.executable
        # A death signal would follow the thread that starts the process, so only the main thread asks for one; the
        # socket's end is noticed in either case.
        options = options | {"die_with_parent": threading.current_thread() is threading.main_thread()}
        binding = {code_pages.BIND_NOW: "1"} if "early_binding" in options["fast_fork"] else {}
        try:
            process = subprocess.Popen(
                args=[*launcher, python, "-s", "-S", "-P", "-B", "-c", _BOOT, ROOT],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=errors, cwd="/",
                env=clean_environment() | binding,
                close_fds=True,
            )  # fmt: skip
        except OSError as e:
            os.close(errors)
            raise SandboxError(f"the sandbox interpreter {python} can't be started: {e}") from e
        finally:
            theirs.close()
        template = cls(process, ours, errors)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(ours, json.dumps(options).encode())
            async with asyncio.timeout(start_s):
                template.hello = json.loads(await loop.sock_recv(ours, _MAX_MESSAGE_BYTES))
        except (OSError, ValueError, TimeoutError) as e:
            process.kill()
            printed = template.stderr_tail()
            await template.close()
            raise SandboxError(f"the sandbox interpreter did not start ({type(e).__name__}): {printed}") from e
        if "error" in template.hello:
            await template.close()
            raise SandboxError(f"the sandbox interpreter did not start: {template.hello['error']}")
        return template

    def spawn(self, *, kind: str, number: int, name: str, ahead: bool = True) -> SlotHandle:
        """Asks for a slot, which reports on its own socket. `ahead`: its children are forked while another one works.
        Raises SlotDied."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        message = json.dumps({"kind": kind, "number": number, "name": name, "ahead": ahead}).encode()
        rights = array.array("i", [theirs.fileno()])
        try:
            self.control.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as e:
            ours.close()
            raise SlotDied(f"the template is gone: {self.stderr_tail()}") from e
        finally:
            theirs.close()
        return SlotHandle(ours, self.stderr_tail)

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process.poll() is None

    async def close(self, grace_s: float = 5.0) -> None:
        """Closes its socket, on which it removes its slots and files and ends; kills it if it does not."""
        self.control.close()
        deadline = time.monotonic() + grace_s
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
            await asyncio.sleep(0.003)
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1
        work = self.hello.get("plan", {}).get("work")
        if work and os.path.isdir(work):  # it was killed before it could
            workdir.remove_tree(work)
