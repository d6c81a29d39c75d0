"""Talks to one child from the host: frames out, frames in, what it wrote, and how it ended.

A child that has sent its final frame is done as far as the host is concerned: nothing that it does afterwards counts,
its slot kills it, and the next job need not wait for that.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections import deque
from collections.abc import Iterable

from berry.sandboxes import wire
from berry.sandboxes.base import JobOutcome, Limits, SlotDied
from berry.sandboxes.host.records import ChildControl, Ended
from berry.sandboxes.inside import stages
from berry.sandboxes.inside.channel import FINAL_FRAME, FINAL_NUMBERS
from berry.sandboxes.inside.slot_protocol import Done, StartChild

_READ_BYTES = 1 << 16
BATCH_FRAMES, BATCH_PAUSE_S = 16, 0.0005
"""While more frames than this are expected, reading pauses for so long."""
MAX_HELD_VALUES = 256
"""Memory that the frames which nobody has taken yet would take once decoded, over the limit on one value."""
SILENT_SLOT_S = 15.0
"""How long after a child's wall limit its slot may still be silent before it counts as dead."""


def final_frame(body: bytes) -> tuple[int, str, float, int]:
    """Unpacks status, claimed outcome, CPU seconds and peak bytes from a child's final frame; raises WireError."""
    try:
        status, cpu_s, peak = FINAL_NUMBERS.unpack_from(body)
        outcome = body[FINAL_NUMBERS.size :].decode("ascii")
    except (struct.error, UnicodeDecodeError):
        raise wire.WireError("not a final frame") from None
    if not (0.0 <= cpu_s < 1e9 and 0 <= peak < 1 << 50):
        raise wire.WireError("not a final frame")
    return status, outcome, cpu_s, peak


class ChildHandle:
    """One child at work. `frames` holds what came from it and was not yet taken."""

    def __init__(
        self, slot: ChildControl, pid: int, fds: tuple[int, int, int, int], limits: Limits, order: StartChild
    ) -> None:
        self._slot, self.pid, self._limits = slot, pid, limits
        self._started = time.monotonic()
        self._final: tuple[int, str, float, int] | None = None
        self._retired = False
        self._order: StartChild | None = order
        self._loop = asyncio.get_running_loop()
        self._fd = fds[0]
        self._open = True
        self._files = fds[1:]
        self._reader = wire.Reader(limits.value_bytes + 8192)
        self._out = bytearray()
        self._eof = False
        self._for_frames = False
        self._expected = 0
        self._allowed = 0
        self._held_bytes, self._max_held_bytes = 0, MAX_HELD_VALUES * limits.value_bytes
        self._wake: asyncio.Future[None] | None = None
        self.frames: deque[bytes] = deque()
        self.broken: tuple[JobOutcome, str] | None = None
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
        self._start()

    def _start(self) -> None:
        """Has the slot watch this child, once; slots watch children in the order in which they were handed out."""
        if self._order is not None:
            self._slot.start_child(self._order)
            self._order = None

    def _write(self, data: bytes) -> bytes:
        """Writes what the child takes now and returns the rest."""
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
                self.break_off(str(e), JobOutcome.OUTPUT_LIMIT)
        if self._for_frames or self._final is not None:
            self.wake()
        elif self._expected - len(self.frames) > BATCH_FRAMES and not self._eof:
            self._loop.remove_reader(self._fd)
            self._loop.call_later(BATCH_PAUSE_S, self._resume)

    def allow(self, frames: int) -> None:
        """Asks for so many frames more. A child that sends one that was not asked for is broken off."""
        self._allowed += frames

    def expect(self, frames: int) -> None:
        """Announces how many frames are to come while nobody waits for the first of them: they are read in batches,
        which wakes this process less often."""
        self._expected = frames
        self.allow(frames)

    def _resume(self) -> None:
        if self._open and not self._eof:
            self._loop.add_reader(self._fd, self._readable)
            self._readable()

    def _take(self, frames: Iterable[bytes]) -> None:
        """Stores the frames that came in, up to the final one. Raises WireError."""
        for body in frames:
            if body.startswith(FINAL_FRAME):
                self._final = final_frame(body[len(FINAL_FRAME) :])
                self._stop_reading()
                return
            if not self._allowed:
                self.break_off("it sent a frame that was not asked for", JobOutcome.VIOLATION)
                return
            self._allowed -= 1
            self._held_bytes += wire.decoded_bytes(body)
            if self._held_bytes > self._max_held_bytes:
                self.break_off("values of too many bytes in all", JobOutcome.OUTPUT_LIMIT)
                return
            self.frames.append(body)

    def _stop_reading(self) -> None:
        if not self._eof:
            self._eof = True
            self._loop.remove_reader(self._fd)

    def break_off(self, why: str, outcome: JobOutcome) -> None:
        """Ends the child for breaking the protocol; nothing more is read from it."""
        if self.broken is None:
            self.broken = outcome, why
            self._stop_reading()
            self.kill()

    def kill(self) -> None:
        """Kills the child; its end is reported as usual."""
        self._slot.kill(self.pid)

    def retire(self) -> None:
        """Gives the child up: it is killed, and the slot goes on without anyone waiting for it."""
        self._start()
        if not self._retired and not self.done.done():
            self._slot.retire(self.pid)
        self._retired = True

    def wake(self) -> None:
        """Wakes whoever waits for a frame or the end."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def frame(self) -> bytes | None:
        """Waits for the next frame; None when the child has ended or broken off and none is left."""
        while not self.frames:
            if self._eof or self.broken is not None or self.done.done():
                self.drain()
                return self._next_frame() if self.frames else None
            self._wake = self._loop.create_future()
            self._for_frames = True
            await self._wake
        return self._next_frame()

    def _next_frame(self) -> bytes:
        body = self.frames.popleft()
        self._held_bytes -= wire.decoded_bytes(body)
        return body

    def drain(self) -> None:
        """Reads what an ended child had written."""
        while not self._eof and self.done.done() and self.broken is None:
            before = len(self.frames), self._reader.pending
            self._readable()
            if before == (len(self.frames), self._reader.pending):
                return

    def output(self, stream: int, start: int, end: int | None = None) -> bytes:
        """Reads bytes `start` to `end` of stdout (1) or stderr (2), within the limit on output."""
        limit = self._limits.output_bytes
        stop = limit if end is None else min(end, limit)
        return os.pread(self._files[stream], stop - start, start) if 0 <= start < stop else b""

    def ended(self, message: Done, fetched: int | None) -> None:
        """Records the slot's report that the child is gone, with the file that was asked for."""
        self._fetched = fetched
        if fetched is not None and not self._open:
            os.close(fetched)  # released already
        if not self.done.done():
            self.done.set_result(message)
        self.wake()

    def lost(self, why: str) -> None:
        """Records that the slot is gone, and the child with it."""
        if not self.done.done():
            self.done.set_exception(SlotDied(why))
            self.done.exception()  # seen, whether or not anyone waits for it
        self.wake()

    def fetched(self) -> bytes:
        """Reads the file that `begin` asked for; empty where there is none."""
        if self._fetched is None:
            return b""
        return os.pread(self._fetched, os.fstat(self._fetched).st_size, 0)

    async def end(self) -> Ended:
        """Waits for the child's end and collects what it left; raises SlotDied."""
        await self._wait_for_end()
        if self._final is None:
            self.drain()
        sizes = [os.fstat(fd).st_size for fd in self._files[1:]]
        stdout, stderr = (self.output(i, 0) if size else b"" for i, size in enumerate(sizes, 1))
        left = {
            "stdout": stdout, "stderr": stderr, "stdout_bytes": sizes[0], "stderr_bytes": sizes[1],
            "frames": tuple(self.frames), "broken": self.broken,
        }  # fmt: skip
        self.frames.clear()
        if self._final is not None:
            self.retire()
            status, outcome, cpu_s, peak = self._final
            wall = time.monotonic() - self._started
            return Ended(status << 8, cpu_s, wall, peak, limit=None, **left, outcome=outcome)
        done = self.done.result()
        if done.stage == stages.WAITING:
            self._slot.close("a child ended before its job began")
            raise SlotDied("a child ended before its job began")
        loaded = done.stage == stages.LOADED
        return Ended(done.status, done.cpu_s, done.wall_s, done.peak_bytes, done.limit, **left, loaded=loaded)

    async def _wait_for_end(self) -> None:
        """Waits for the child's final frame or its end; raises SlotDied."""
        deadline = self._loop.call_later(self._limits.wall_s + SILENT_SLOT_S, self._slot.close, "the slot fell silent")
        try:
            self._for_frames = False
            while self._final is None and not self.done.done():
                self._wake = self._loop.create_future()
                await self._wake
        finally:
            deadline.cancel()
        if self._final is None:
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
