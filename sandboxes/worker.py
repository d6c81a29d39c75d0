"""The host's ends: a template process, its slots, and one live child.

    Template.start ─► Template.spawn ─► SlotHandle.begin(limits) ─► Live: send, frames ─► finish ─► Ended

Sockets are watched by the running asyncio loop; nothing blocks it. A slot or template that dies or does not
answer raises SlotDied, which the pool treats as the sandbox's fault, never the program's.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandboxes import wire
from sandboxes.base import Limits, SandboxError
from sandboxes.inside import workplace
from sandboxes.jail.plan import Plan

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); from sandboxes.inside.template import main; "
    "del sys.path[0]; sys.argv = ['']; main()"
)
_ROOT = str(Path(__file__).resolve().parent.parent)
_CONTROL_BYTES = 1 << 16
_READ_BYTES = 1 << 18
_CORES = os.cpu_count() or 1
GRACE_S = 15.0
"""How long after a child's wall limit its slot may still be silent before it counts as dead."""


class SlotDied(Exception):
    """A slot or template ended or fell silent: the sandbox's fault."""


def clean_environment() -> dict[str, str]:
    """All that jobs see of an environment."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": ".", "TMPDIR": ".", "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }  # fmt: skip


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Template:
    """One exec'd interpreter with a profile's modules loaded; see `sandboxes.inside.template`."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, errors: int) -> None:
        self.process, self.control, self._errors = process, control, errors
        self.hello: dict[str, Any] = {}

    @property
    def plan(self) -> Plan:
        """What is on, as it reported."""
        fields: dict[str, Any] = self.hello["plan"]
        return Plan(**{name: _frozen(value) for name, value in fields.items()})

    def said(self) -> str:
        """The end of what it and its slots printed."""
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
        # A death signal would follow the thread that starts the process, so only the main thread
        # asks for one; the
        # socket's end is noticed in either case.
        options = options | {"die_with_parent": threading.current_thread() is threading.main_thread()}
        try:
            process = subprocess.Popen(
                args=[*launcher, python, "-s", "-S", "-P", "-B", "-c", _BOOT, _ROOT],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=errors, env=clean_environment(), cwd="/",
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
                template.hello = json.loads(await loop.sock_recv(ours, _CONTROL_BYTES))
        except (OSError, ValueError, TimeoutError) as e:
            process.kill()
            said = template.said()
            await template.close()
            raise SandboxError(f"the sandbox interpreter did not start ({type(e).__name__}): {said}") from e
        if "error" in template.hello:
            await template.close()
            raise SandboxError(f"the sandbox interpreter did not start: {template.hello['error']}")
        return template

    def spawn(self, *, kind: str, number: int, name: str) -> SlotHandle:
        """Asks for a slot; it reports on its own socket. Raises SlotDied."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        message = json.dumps({"kind": kind, "number": number, "name": name}).encode()
        rights = array.array("i", [theirs.fileno()])
        try:
            self.control.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except OSError as e:
            ours.close()
            raise SlotDied(f"the template is gone: {self.said()}") from e
        finally:
            theirs.close()
        return SlotHandle(ours, self)

    @property
    def alive(self) -> bool:
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
            workplace.remove_tree(work)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended, as its slot saw it, with everything that it left to read."""

    status: int
    cpu_s: float
    wall_s: float
    peak_bytes: int
    limit: str | None
    stdout: bytes
    stderr: bytes
    stdout_bytes: int
    stderr_bytes: int

    def read(self, stream: int, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of stdout (1) or stderr (2)."""
        return (self.stdout if stream == 1 else self.stderr)[start:end]


class Live:
    """One child at work. `frames` holds what came from it and was not yet taken."""

    def __init__(self, slot: SlotHandle, fds: tuple[int, int, int, int], limits: Limits) -> None:
        self._slot, self._limits = slot, limits
        self._loop = asyncio.get_running_loop()
        self._job = socket.socket(fileno=fds[0])
        self._job.settimeout(0)
        self._fd = self._job.fileno()  # the loop is given numbers: it would print a socket it does not know
        self._files = fds[1:]
        self._reader = wire.Reader(limits.value_bytes + 8192)
        self._out = bytearray()
        self._eof = False
        self._wake: asyncio.Future[None] | None = None
        self.frames: deque[bytes] = deque()
        self.broken: str | None = None
        self._fetched: int | None = None
        self.done: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._loop.add_reader(self._fd, self._readable)

    def feed_stdin(self, data: bytes) -> None:
        """Puts standard input in place; before the job is sent."""
        view = memoryview(data)
        at = 0
        while at < len(view):
            at += os.pwrite(self._files[0], view[at:], at)

    def send(self, data: bytes) -> None:
        """Queues bytes for the child."""
        if self._out:
            self._out += data
            return
        try:
            sent = self._job.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # the child is gone; its end is reported by the slot
        if sent < len(data):
            self._out += data[sent:]
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        try:
            del self._out[: self._job.send(self._out)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._out.clear()
        if not self._out:
            self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        try:
            data = self._job.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._eof = True
            self._loop.remove_reader(self._fd)
        elif self.broken is None:
            self._reader.feed(data)
            try:
                self.frames.extend(self._reader.frames())
            except wire.WireError as e:
                self.break_off(str(e))
        self.wake()

    def break_off(self, why: str) -> None:
        """Ends the child for breaking the protocol."""
        if self.broken is None:
            self.broken = why
            self.kill()

    def kill(self) -> None:
        self._slot.kill()

    def wake(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def frame(self) -> bytes | None:
        """The next frame; None when the child has ended or broken off and none is left."""
        while not self.frames:
            if self._eof or self.broken is not None or self.done.done():
                self.drain()
                return self.frames.popleft() if self.frames else None
            self._wake = self._loop.create_future()
            await self._wake
        return self.frames.popleft()

    def drain(self) -> None:
        """Takes in what an ended child had written."""
        while not self._eof and self.done.done() and self.broken is None:
            before = len(self.frames), self._reader.pending
            self._readable()
            if not self._eof and before == (len(self.frames), self._reader.pending):
                return

    def output(self, stream: int, start: int, end: int | None = None) -> bytes:
        """Bytes `start` to `end` of stdout (1) or stderr (2), within the limit on output."""
        limit = self._limits.output_bytes
        stop = limit if end is None else min(end, limit)
        return os.pread(self._files[stream], stop - start, start) if 0 <= start < stop else b""

    def finish_input(self) -> None:
        """No more frames will be sent: a child that waits for one ends."""
        with contextlib.suppress(OSError):
            self._job.shutdown(socket.SHUT_WR)

    def ended(self, message: dict[str, Any], fetched: int | None) -> None:
        """The slot's word that the child is gone, with the file that was asked for."""
        self._fetched = fetched
        if not self.done.done():
            self.done.set_result(message)
        self.wake()

    def fetched(self) -> bytes:
        """The file that `begin` asked for; empty where there is none."""
        if self._fetched is None:
            return b""
        return os.pread(self._fetched, os.fstat(self._fetched).st_size, 0)

    async def end(self) -> Ended:
        """Waits for the child's end and collects what it left; raises SlotDied."""
        try:
            async with asyncio.timeout(self._limits.wall_s + GRACE_S):
                done = await self.done
        except TimeoutError:
            self._slot.close("the slot fell silent")
            raise SlotDied("the slot fell silent") from None
        self.drain()
        sizes = [os.fstat(fd).st_size for fd in self._files[1:]]
        stdout, stderr = (self.output(i, 0) if size else b"" for i, size in enumerate(sizes, 1))
        return Ended(done["status"], done["cpu"], done["wall"], done["rss"], done["limit"], stdout, stderr, *sizes)

    def release(self) -> None:
        """Closes every descriptor. A child that still lives takes its slot down with it."""
        if not self.done.done():
            self._slot.close("abandoned")
        if self.done.done() and not self.done.cancelled():
            self.done.exception()  # seen, whether or not anyone awaited it
        if self._job.fileno() >= 0:
            if not self._eof:
                self._loop.remove_reader(self._fd)
            if self._out:
                self._loop.remove_writer(self._fd)
            self._job.close()
            for fd in self._files:
                os.close(fd)
            if self._fetched is not None:
                os.close(self._fetched)


class SlotHandle:
    """The host's end of one slot: at most one live child, and the next one ready."""

    def __init__(self, sock: socket.socket, template: Template) -> None:
        self._sock, self._template = sock, template
        self._loop = asyncio.get_running_loop()
        self._ready: deque[tuple[int, int, int, int]] = deque()
        self._live: Live | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.dead: str | None = None
        self.jobs = 0
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        while self.dead is None:
            try:
                data, ancillary, _, _ = self._sock.recvmsg(4096, 256, socket.MSG_CMSG_CLOEXEC)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as e:
                self.close(f"the slot's socket broke: {e}")
                return
            if not data:
                self.close(f"the slot ended: {self._template.said()[-500:]}")
                return
            message = json.loads(data)
            fds = array.array("i")
            for _, _, payload in ancillary:
                fds.frombytes(payload)
            if "ready" in message:
                self._ready.append((fds[0], fds[1], fds[2], fds[3]))
                if self._waiter is not None and not self._waiter.done():
                    self._waiter.set_result(None)
            elif self._live is not None:
                live, self._live = self._live, None
                live.ended(message, fds[0] if fds else None)

    async def begin(self, limits: Limits, *, fetch: str | None = None, ready_s: float = 60.0) -> Live:
        """A child under these limits (already scaled), waiting for its job. `fetch` names a file in its
        directory that is wanted afterwards. Raises SlotDied."""
        while not self._ready:
            if self.dead is not None:
                raise SlotDied(self.dead)
            self._waiter = self._loop.create_future()
            try:
                async with asyncio.timeout(ready_s):
                    await self._waiter
            except TimeoutError:
                self.close("no child became ready")
        if self.dead is not None:
            raise SlotDied(self.dead)
        live = Live(self, self._ready.popleft(), limits)
        go = {
            "cpu_s": limits.cpu_s, "wall_s": limits.wall_s, "output_bytes": limits.output_bytes,
            "disk_bytes": limits.disk_bytes, "threads": limits.threads, "processes": limits.processes,
            "cores": _CORES, "fetch": fetch,
        }  # fmt: skip
        self._live = live
        self.jobs += 1
        self._send({"go": go})
        return live

    def kill(self) -> None:
        """Kills the live child, if any; its end is reported as usual."""
        if self._live is not None:
            self._send({"kill": True})

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._sock.send(json.dumps(message).encode())
        except OSError as e:
            self.close(f"the slot's socket broke: {e}")

    def close(self, why: str = "closed") -> None:
        """Lets go of the slot; it kills its children and cleans up when its socket closes."""
        if self.dead is not None:
            return
        self.dead = why
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for fds in self._ready:
            for fd in fds:
                os.close(fd)
        self._ready.clear()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._live is not None and not self._live.done.done():
            self._live.done.set_exception(SlotDied(why))
            self._live.wake()
        self._live = None
