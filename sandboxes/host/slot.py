"""The host's end of one slot: one live child at a time, and the next one ready.

    launching.Template.spawn ─► SlotHandle.begin(limits) ─► live.Live: send, frames ─► end ─► live.Ended

Sockets are watched by the running asyncio loop; nothing blocks it. A slot that dies or does not answer raises
SlotDied, which the pool treats as the sandbox's fault, never the program's.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from typing import TYPE_CHECKING

from berry.sandboxes.base import Limits, SlotDied
from berry.sandboxes.host.child import ChildHandle
from berry.sandboxes.inside import slot_protocol

if TYPE_CHECKING:
    from berry.sandboxes.host.template import Template

__all__ = ["SlotDied", "SlotHandle"]

_CORES = os.cpu_count() or 1
SWEEP_S = 0.005
"""How long a child that is done with may go on before it is killed, where no other job follows."""


class SlotHandle:
    """The host's end of one slot. A child may begin while the one before it is still being taken apart."""

    def __init__(self, sock: socket.socket, template: Template) -> None:
        self._sock, self._template = sock, template
        self._loop = asyncio.get_running_loop()
        self._ready: deque[tuple[int, tuple[int, int, int, int]]] = deque()
        self._lives: deque[ChildHandle] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._unwanted: ChildHandle | None = None
        self._sweeping = False
        self.dead: str | None = None
        self.jobs = 0
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
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
        ended, ready = slot_protocol.reported(data)
        fds = array.array("i")
        for _, _, payload in ancillary:
            fds.frombytes(payload)
        for done in ended:
            self._lives.popleft().ended(done, fds[0] if fds and not ready else None)
        for i, pid in enumerate(ready):
            self._ready.append((pid, (fds[4 * i], fds[4 * i + 1], fds[4 * i + 2], fds[4 * i + 3])))
        if ready and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def begin(self, limits: Limits, *, fetch: str | None = None, ready_s: float = 60.0) -> ChildHandle:
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
        go = slot_protocol.StartChild(
            limits.cpu_s, limits.wall_s, limits.output_bytes, limits.disk_bytes, limits.threads, _CORES, fetch
        )
        live = ChildHandle(self, *self._ready.popleft(), limits, go)
        self._lives.append(live)
        self.jobs += 1
        return live

    def order(self, go: slot_protocol.StartChild) -> None:
        """Has the slot watch its next child."""
        self._unwanted = None
        self._send(go.pack())

    def kill(self, pid: int) -> None:
        """Kills a child that has not ended; its end is reported as usual."""
        if self.dead is None:
            self._send(slot_protocol.kill(pid))

    def retire(self, live: ChildHandle) -> None:
        """Nothing more is wanted of the running child. The next order says so too, and most follow at once."""
        self._unwanted = live
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        if self._unwanted is not None and not self._unwanted.done.done():
            self.kill(self._unwanted.pid)
        self._unwanted = None

    def _send(self, message: bytes) -> None:
        try:
            self._sock.send(message)
        except OSError as e:
            self.close(f"the slot's socket broke: {e}")

    def close(self, why: str = "closed") -> None:
        """Lets go of the slot; it kills its children and cleans up when its socket closes."""
        if self.dead is not None:
            return
        self.dead = why
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for _, fds in self._ready:
            for fd in fds:
                os.close(fd)
        self._ready.clear()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        while self._lives:
            self._lives.popleft().lost(why)
