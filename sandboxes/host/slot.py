"""Hands out the children of one slot: one that runs, and the next ones ready.

    Template.spawn ─► SlotHandle.begin(limits) ─► ChildHandle: send, frames ─► end ─► Ended

Sockets are watched by the running asyncio loop; nothing blocks it. A slot that dies or does not answer raises
SlotDied, which the pool treats as the sandbox's fault, never the program's.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

from berry.sandboxes.base import Limits, SlotDied
from berry.sandboxes.host.child import ChildHandle
from berry.sandboxes.inside import slot_protocol

_CORES = os.cpu_count() or 1
RETIRED_CHILD_S = 0.005
"""How long a retired child may go on before it is killed, where no other job follows."""


class SlotHandle:
    """One slot, seen from the host. A child may begin while the kernel still takes the one before it apart.
    `stderr_tail` reads what the slot's process printed."""

    def __init__(self, sock: socket.socket, stderr_tail: Callable[[], str]) -> None:
        self._sock, self._stderr_tail = sock, stderr_tail
        self._loop = asyncio.get_running_loop()
        self._ready: deque[tuple[int, tuple[int, int, int, int]]] = deque()
        self._children: deque[ChildHandle] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._retired: int | None = None
        self._will_kill_retired = False
        self.dead: str | None = None
        self.jobs = 0
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(4096, 256, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as e:
            self.close(f"the slot's socket broke: {e}")
            return
        if not data:
            self.close(f"the slot ended: {self._stderr_tail()[-500:]}")
            return
        ended, ready = slot_protocol.reported(data)
        fds = array.array("i")
        for _, _, payload in ancillary:
            fds.frombytes(payload)
        if flags & socket.MSG_CTRUNC:  # not all of a child's descriptors could be opened in this process
            for fd in fds:
                os.close(fd)
            self.close("this process may open no more files (ulimit -n)")
            return
        for done in ended:
            self._children.popleft().ended(done, fds[0] if fds and not ready else None)
        for i, pid in enumerate(ready):
            self._ready.append((pid, (fds[4 * i], fds[4 * i + 1], fds[4 * i + 2], fds[4 * i + 3])))
        if ready and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def begin(
        self, limits: Limits, *, fetch: str | None = None, reserve_bytes: int = 0, ready_s: float = 60.0
    ) -> ChildHandle:
        """Waits for a child under these limits (already scaled) that waits for its job. `fetch` names a file in its
        directory that is wanted afterwards, `reserve_bytes` is memory that its runtime takes besides the limit. Raises
        SlotDied."""
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
        order = slot_protocol.StartChild(
            limits.cpu_s, limits.wall_s, limits.memory_bytes + reserve_bytes, limits.output_bytes, limits.disk_bytes,
            limits.threads, limits.processes, _CORES, fetch,
        )  # fmt: skip
        child = ChildHandle(self, *self._ready.popleft(), limits, order)
        self._children.append(child)
        self.jobs += 1
        return child

    def start_child(self, order: slot_protocol.StartChild) -> None:
        """Has the slot watch its next child."""
        self._retired = None
        self._send(order.pack())

    def kill(self, pid: int) -> None:
        """Kills a child that has not ended; its end is reported as usual."""
        if self.dead is None:
            self._send(slot_protocol.kill(pid))

    def retire(self, pid: int) -> None:
        """Kills a running child from which nothing more is wanted, soon: the next order does so too, and most follow
        at once."""
        self._retired = pid
        if not self._will_kill_retired:
            self._will_kill_retired = True
            self._loop.call_later(RETIRED_CHILD_S, self._kill_retired)

    def _kill_retired(self) -> None:
        self._will_kill_retired = False
        if any(child.pid == self._retired for child in self._children):
            assert self._retired is not None
            self.kill(self._retired)
        self._retired = None

    def _send(self, message: bytes) -> None:
        try:
            self._sock.send(message)
        except OSError as e:
            self.close(f"the slot's socket broke: {e}")

    def close(self, why: str = "closed") -> None:
        """Closes the slot's socket; the slot kills its children and cleans up then."""
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
        while self._children:
            self._children.popleft().lost(why)
