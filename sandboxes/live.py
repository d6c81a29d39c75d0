"""One live child, seen from the host: frames out, frames in, what it wrote, and how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandboxes import wire
from sandboxes.base import Limits, SlotDied

if TYPE_CHECKING:
    from sandboxes.worker import SlotHandle

_READ_BYTES = 1 << 18
GRACE_S = 15.0
"""How long after a child's wall limit its slot may still be silent before it counts as dead."""


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
