"""The host's end of one slot: one live child at a time, and the next one ready.

    launching.Template.spawn ─► SlotHandle.begin(limits) ─► live.Live: send, frames ─► end ─► live.Ended

Sockets are watched by the running asyncio loop; nothing blocks it. A slot that dies or does not answer raises
SlotDied, which the pool treats as the sandbox's fault, never the program's.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from sandboxes.base import Limits, SlotDied
from sandboxes.live import Live

if TYPE_CHECKING:
    from sandboxes.launching import Template

__all__ = ["SlotDied", "SlotHandle"]

_CORES = os.cpu_count() or 1


class SlotHandle:
    """The host's end of one slot. A child may begin while the one before it is still being taken apart."""

    def __init__(self, sock: socket.socket, template: Template) -> None:
        self._sock, self._template = sock, template
        self._loop = asyncio.get_running_loop()
        self._ready: deque[tuple[int, tuple[int, int, int, int]]] = deque()
        self._lives: deque[Live] = deque()
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
                self._ready.append((message["ready"], (fds[0], fds[1], fds[2], fds[3])))
                if self._waiter is not None and not self._waiter.done():
                    self._waiter.set_result(None)
            else:
                self._lives.popleft().ended(message, fds[0] if fds else None)

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
        live = Live(self, *self._ready.popleft(), limits)
        go = {
            "cpu_s": limits.cpu_s, "wall_s": limits.wall_s, "output_bytes": limits.output_bytes,
            "disk_bytes": limits.disk_bytes, "threads": limits.threads, "processes": limits.processes,
            "cores": _CORES, "fetch": fetch,
        }  # fmt: skip
        self._lives.append(live)
        self.jobs += 1
        self._send({"go": go})
        return live

    def kill(self, pid: int) -> None:
        """Kills a child that has not ended; its end is reported as usual."""
        if self.dead is None:
            self._send({"kill": pid})

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
        for _, fds in self._ready:
            for fd in fds:
                os.close(fd)
        self._ready.clear()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        while self._lives:
            self._lives.popleft().lost(why)
