"""One live child, seen from the host: frames out, frames in, what it wrote, and how it ended.

A child that has said its last words is done as far as the host is concerned: nothing that it does afterwards
counts, its slot kills it, and the next job need not wait for that.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from berry.sandboxes import wire
from berry.sandboxes.base import Limits, SlotDied
from berry.sandboxes.inside import stages
from berry.sandboxes.inside.channel import LAST, WORDS
from berry.sandboxes.inside.slot_protocol import Done, StartChild

if TYPE_CHECKING:
    from berry.sandboxes.host.slot import SlotHandle

_READ_BYTES = 1 << 16
MANY, PAUSE_S = 16, 0.0005
"""While more frames than this are expected, they are left for so long."""
GRACE_S = 15.0
"""How long after a child's wall limit its slot may still be silent before it counts as dead."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended, as its slot saw it or, where it said that it was done, in its own words; with
    everything that it left to read. `outcome` is the child's claim."""

    status: int
    cpu_s: float
    wall_s: float
    peak_bytes: int
    limit: str | None
    stdout: bytes
    stderr: bytes
    stdout_bytes: int
    stderr_bytes: int
    outcome: str | None = None
    loaded: bool = False
    """Whether it had come as far as the first call."""

    def read(self, stream: int, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of stdout (1) or stderr (2)."""
        return (self.stdout if stream == 1 else self.stderr)[start:end]


def last_words(body: bytes) -> tuple[int, str, float, int]:
    """Status, claimed outcome, CPU seconds and peak bytes from a child's last frame; raises WireError."""
    try:
        status, cpu_s, peak = WORDS.unpack_from(body)
        outcome = body[WORDS.size :].decode("ascii")
    except (struct.error, UnicodeDecodeError):
        raise wire.WireError("not last words") from None
    if not (0.0 <= cpu_s < 1e9 and 0 <= peak < 1 << 50):
        raise wire.WireError("not last words")
    return status, outcome, cpu_s, peak


class ChildHandle:
    """One child at work. `frames` holds what came from it and was not yet taken."""

    def __init__(
        self, slot: SlotHandle, pid: int, fds: tuple[int, int, int, int], limits: Limits, go: StartChild
    ) -> None:
        self._slot, self.pid, self._limits = slot, pid, limits
        self._started = time.monotonic()
        self._last: tuple[int, str, float, int] | None = None
        self._retired = False
        self._go: StartChild | None = go
        self._loop = asyncio.get_running_loop()
        self._fd = fds[0]
        self._open = True
        self._files = fds[1:]
        self._reader = wire.Reader(limits.value_bytes + 8192)
        self._out = bytearray()
        self._eof = False
        self._for_frames = False
        self._expected = 0
        self._wake: asyncio.Future[None] | None = None
        self.frames: deque[bytes] = deque()
        self.broken: str | None = None
        self._fetched: int | None = None
        self.done: asyncio.Future[Done] = self._loop.create_future()
        self._loop.add_reader(self._fd, self._readable)

    def feed_stdin(self, data: bytes) -> None:
        """Puts standard input in place; before the job is sent."""
        view = memoryview(data)
        at = 0
        while at < len(view):
            at += os.pwrite(self._files[0], view[at:], at)

    def send(self, data: bytes) -> None:
        """Queues bytes for the child. With the first of them its slot begins to watch it; the child comes first, for
        its job is what is waited for."""
        if not self._out:
            data = self._write(data)
            if data:
                self._loop.add_writer(self._fd, self._writable)
        self._out += data
        self._announce()

    def _announce(self) -> None:
        """Tells the slot, which watches the children that were given away in that order."""
        if self._go is not None:
            self._slot.order(self._go)
            self._go = None

    def _write(self, data: bytes) -> bytes:
        """What of it the child does not take now."""
        try:
            return data[os.write(self._fd, data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError:
            return b""  # the child is gone; its end is reported by the slot

    def _writable(self) -> None:
        try:
            del self._out[: os.write(self._fd, self._out)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._out.clear()
        if not self._out:
            self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._stop_reading()
        elif self.broken is None:
            self._reader.feed(data)
            try:
                self._take(self._reader.frames())
            except wire.WireError as e:
                self.break_off(str(e))
        if self._for_frames or self._last is not None:
            self.wake()
        elif self._expected - len(self.frames) > MANY and not self._eof:
            self._loop.remove_reader(self._fd)
            self._loop.call_later(PAUSE_S, self._resume)

    def expect(self, frames: int) -> None:
        """So many frames are to come, and nobody waits for the first of them: they are taken in lots, which wakes this
        process less often."""
        self._expected = frames

    def _resume(self) -> None:
        if self._open and not self._eof:
            self._loop.add_reader(self._fd, self._readable)
            self._readable()

    def _take(self, frames: Iterable[bytes]) -> None:
        """Files what came in, up to the child's last words. Raises WireError."""
        for body in frames:
            if body.startswith(LAST):
                self._last = last_words(body[len(LAST) :])
                self._stop_reading()
                return
            self.frames.append(body)

    def _stop_reading(self) -> None:
        if not self._eof:
            self._eof = True
            self._loop.remove_reader(self._fd)

    def break_off(self, why: str) -> None:
        """Ends the child for breaking the protocol."""
        if self.broken is None:
            self.broken = why
            self.kill()

    def kill(self) -> None:
        self._slot.kill(self.pid)

    def retire(self) -> None:
        """Nothing more is wanted of the child: it is killed, and the slot goes on without anyone waiting for
        it."""
        self._announce()
        if not self._retired and not self.done.done():
            self._slot.retire(self)
        self._retired = True

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
            self._for_frames = True
            await self._wake
        return self.frames.popleft()

    def drain(self) -> None:
        """Takes in what an ended child had written."""
        while not self._eof and self.done.done() and self.broken is None:
            before = len(self.frames), self._reader.pending
            self._readable()
            if before == (len(self.frames), self._reader.pending):
                return

    def output(self, stream: int, start: int, end: int | None = None) -> bytes:
        """Bytes `start` to `end` of stdout (1) or stderr (2), within the limit on output."""
        limit = self._limits.output_bytes
        stop = limit if end is None else min(end, limit)
        return os.pread(self._files[stream], stop - start, start) if 0 <= start < stop else b""

    def ended(self, message: Done, fetched: int | None) -> None:
        """The slot's word that the child is gone, with the file that was asked for."""
        self._fetched = fetched
        if fetched is not None and not self._open:
            os.close(fetched)  # released already
        if not self.done.done():
            self.done.set_result(message)
        self.wake()

    def lost(self, why: str) -> None:
        """The slot is gone, and with it all word of the child."""
        if not self.done.done():
            self.done.set_exception(SlotDied(why))
            self.done.exception()  # seen, whether or not anyone waits for it
        self.wake()

    def fetched(self) -> bytes:
        """The file that `begin` asked for; empty where there is none."""
        if self._fetched is None:
            return b""
        return os.pread(self._fetched, os.fstat(self._fetched).st_size, 0)

    async def end(self) -> Ended:
        """Waits for the child's end and collects what it left; raises SlotDied."""
        await self._over()
        if self._last is None:
            self.drain()
        sizes = [os.fstat(fd).st_size for fd in self._files[1:]]
        stdout, stderr = (self.output(i, 0) if size else b"" for i, size in enumerate(sizes, 1))
        left = {"stdout": stdout, "stderr": stderr, "stdout_bytes": sizes[0], "stderr_bytes": sizes[1]}
        if self._last is not None:
            self.retire()
            status, outcome, cpu_s, peak = self._last
            wall = time.monotonic() - self._started
            return Ended(status << 8, cpu_s, wall, peak, limit=None, **left, outcome=outcome)
        done = self.done.result()
        if done.stage == stages.WAITS:
            self._slot.close("a child ended before its job began")
            raise SlotDied("a child ended before its job began")
        loaded = done.stage == stages.LOADED
        return Ended(done.status, done.cpu_s, done.wall_s, done.peak_bytes, done.limit, **left, loaded=loaded)

    async def _over(self) -> None:
        """Waits for the child's last words or its end; raises SlotDied."""
        deadline = self._loop.call_later(self._limits.wall_s + GRACE_S, self._slot.close, "the slot fell silent")
        try:
            self._for_frames = False
            while self._last is None and not self.done.done():
                self._wake = self._loop.create_future()
                await self._wake
        finally:
            deadline.cancel()
        if self._last is None:
            self.done.result()

    def release(self) -> None:
        """Closes every descriptor. A child that still lives takes its slot down with it."""
        if not self.done.done() and not self._retired:
            self._slot.close("abandoned")
        if self.done.done() and not self.done.cancelled():
            self.done.exception()  # seen, whether or not anyone awaited it
        if self._open:
            self._open = False
            if not self._eof:
                self._loop.remove_reader(self._fd)
            if self._out:
                self._loop.remove_writer(self._fd)
            for fd in (self._fd, *self._files):
                os.close(fd)
            if self._fetched is not None:
                os.close(self._fetched)
