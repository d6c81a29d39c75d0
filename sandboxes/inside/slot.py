"""A slot: forks a child for each job, one ahead of time, watches its clocks and cleans up after it.

    ready (pid, four descriptors) ─► host        go (limits) ◄─ host        done (status, usage, limit hit)
    ─► host

The next child is forked and confined while the present one runs, so that a job finds a warm child waiting. A
slot runs none of the job's code. It ends, and its children with it, when its socket closes.
"""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import random
import select
import signal
import socket
import stat
import time
from collections import deque
from typing import Any, NamedTuple

from sandboxes.inside import child, workplace
from sandboxes.jail import plan, syscalls

TICK_S = 0.05
"""Longest time between two looks at a running child's disk use and threads."""


class Prepared(NamedTuple):
    """A confined child that waits for its job, and the host's ends of what it holds."""

    pid: int
    pidfd: int
    arena: int
    fds: tuple[int, ...]  # job socket, stdin, stdout, stderr


class Slot:
    def __init__(self, sock: socket.socket, jail_plan: plan.Plan, message: dict[str, Any]) -> None:
        self.sock, self.plan = sock, jail_plan
        self.kind = message["kind"]
        directory = os.path.join(jail_plan.work, message["name"])
        uid = plan.FIRST_UID + message["number"] if jail_plan.drops_uid else None
        self.ahead = self.kind != "tools"
        self.jail = plan.SlotJail(jail_plan, self.kind, directory, uid, 2 if self.ahead else 1)
        self.directory = directory
        self.arena = 0
        self.pid = os.getpid()
        self.inbox: deque[dict[str, Any]] = deque()
        for arena in range(len(self.jail.arenas)):
            self.fresh_directory(arena)

    def prepare(self) -> Prepared:
        """Forks and confines the next child and tells the host."""
        arena = self.arena
        self.arena = (arena + 1) % len(self.jail.arenas)
        self.jail.count_others()
        host_end, child_end = socket.socketpair()
        files = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("in", "out", "err")]
        pid = syscalls.fork()
        if pid < 0:
            raise OSError("no child could be forked")
        if pid == 0:
            self._become_child(arena, child_end, files)
        child_end.close()
        ready = Prepared(pid, os.pidfd_open(pid), arena, (host_end.detach(), *files))
        rights = array.array("i", ready.fds)
        told = json.dumps({"ready": pid}).encode()
        self.sock.sendmsg([told], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        os.close(ready.fds[0])
        return ready

    def _become_child(self, arena: int, job: socket.socket, files: list[int]) -> None:
        try:
            self.jail.confine(arena, self.pid)
            for target, fd in enumerate((*files, job.fileno())):  # all above 3: the template holds 0 to 2 and 9
                os.dup2(fd, target)
            os.closerange(4, 1 << 16)
        except BaseException as e:  # noqa: BLE001 (a child that can't be confined must never run a job)
            os.write(files[2], f"confining failed: {e!r}\n".encode())
            os._exit(1)
        child.main(self.jail, self.kind)

    def run(self, ready: Prepared, go: dict[str, Any], upcoming: list[Prepared]) -> dict[str, Any]:
        """Watches one child to its end; forks the next one meanwhile."""
        started = time.monotonic()
        if self.ahead:
            upcoming.append(self.prepare())
        poller = select.poll()
        poller.register(ready.pidfd, select.POLLIN)
        poller.register(self.sock, select.POLLIN)
        clock = (~ready.pid << 3) | 2
        limit: str | None = None
        while True:
            wall = time.monotonic() - started
            try:
                cpu = time.clock_gettime(clock)
            except OSError:
                cpu = 0.0
            if limit is None:
                limit = self._over(ready, go, cpu, wall)
                if limit:
                    os.kill(ready.pid, signal.SIGKILL)
            tick = TICK_S if wall > TICK_S else 0.02
            left = min(go["wall_s"] - wall, (go["cpu_s"] - cpu) / go["cores"], tick)
            events = poller.poll(1000 if limit else max(1.0, left * 1000))
            if any(fd == ready.pidfd for fd, _ in events):
                break
            if events:
                self.receive(ready)
            if limit is None and {"kill": ready.pid} in self.inbox:
                limit = "killed"
                os.kill(ready.pid, signal.SIGKILL)
        _, status, usage = os.wait4(ready.pid, 0)
        wall = time.monotonic() - started
        self._kill_rest()
        return {"done": ready.pid, "status": status, "cpu": usage.ru_utime + usage.ru_stime, "wall": wall,
                "rss": usage.ru_maxrss * 1024, "limit": limit}  # fmt: skip

    def receive(self, *running: Prepared) -> None:
        """Takes in one message; ends the slot when there will be no more."""
        data = self.sock.recv(4096)
        if not data:
            self.end(*running)
        self.inbox.append(json.loads(data))

    def _over(self, ready: Prepared, go: dict[str, Any], cpu: float, wall: float) -> str | None:
        if cpu > go["cpu_s"]:
            return "cpu"
        if wall > go["wall_s"]:
            return "wall"
        if wall < TICK_S:
            return None
        if max(os.fstat(fd).st_size for fd in ready.fds[2:4]) > go["output_bytes"]:
            return "output"
        if workplace.tree_bytes(self.jail.arenas[ready.arena], go["disk_bytes"]) > go["disk_bytes"]:
            return "disk"
        if not self.plan.counts_tasks and threads_of(ready.pid) > go["threads"]:
            return "processes"
        return None

    def _kill_rest(self) -> None:
        """Ends whatever a job left behind. In a PID namespace one signal reaches all of it; elsewhere this
        slot has adopted the orphans and stops them all before it kills any, so that none can start another
        meanwhile."""
        if self.kind != "tools":
            return
        if "pid" in self.plan.namespaces:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        else:
            stopped: set[int] = set()
            while fresh := descendants(self.pid) - stopped:
                for pid in fresh:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                stopped |= fresh
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    def fresh_directory(self, arena: int) -> None:
        top = self.jail.arenas[arena]
        work = os.path.join(top, "w")
        try:
            os.rmdir(work)
        except FileNotFoundError:
            pass
        except OSError:
            workplace.remove_tree(work)
        if os.listdir(top):
            workplace.remove_tree(top, keep=True)
        os.mkdir(work, 0o700)

    def tell(self, done: dict[str, Any], fetch: str | None, arena: int) -> None:
        """Reports a child's end, with a copy of the file that the host asked for."""
        fd = None if fetch is None else copy_in_memory(os.path.join(self.jail.arenas[arena], "w", fetch))
        rights = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        self.sock.sendmsg([json.dumps(done).encode()], rights)
        if fd is not None:
            os.close(fd)

    def close_prepared(self, ready: Prepared) -> None:
        for fd in (ready.pidfd, *ready.fds[1:]):
            os.close(fd)

    def end(self, *prepared: Prepared) -> None:
        """Kills what runs, empties the slot's directory, which its template removes, and exits."""
        for ready in prepared:
            os.kill(ready.pid, signal.SIGKILL)
            os.waitpid(ready.pid, 0)
        self._kill_rest()
        workplace.remove_tree(self.directory, keep=True)
        os._exit(0)


def serve(sock: socket.socket, jail_plan: plan.Plan, message: dict[str, Any], template: int) -> None:
    """The slot's life; returns when the socket closes."""
    syscalls.death_signal()()
    if os.getppid() not in (0, template):  # 0: in a PID namespace of its own
        return
    os.setsid()  # no terminal; once here and not in every child, where a new session may mean a new scheduling group
    syscalls.call("prctl", syscalls.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    random.seed(0)  # every child goes on from here: equal jobs draw equal numbers
    slot = Slot(sock, jail_plan, message)
    syscalls.death_signal()()  # a change of user id has cleared it
    gc.freeze()
    prepared = [slot.prepare()]
    while True:
        while not any("go" in message for message in slot.inbox):
            slot.receive(*prepared)
        while "go" not in (message := slot.inbox.popleft()):
            continue  # a kill for a child that has ended
        go, ready = message["go"], prepared.pop(0)
        done = slot.run(ready, go, prepared)
        slot.close_prepared(ready)
        slot.tell(done, go["fetch"], ready.arena)
        slot.fresh_directory(ready.arena)
        if not prepared:
            prepared.append(slot.prepare())


def copy_in_memory(path: str) -> int | None:
    """A descriptor on a copy of a regular file; None where there is none."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            return None
        copy = os.memfd_create("fetched", os.MFD_CLOEXEC)
        while os.sendfile(copy, source, None, 1 << 20):
            pass
        return copy
    finally:
        os.close(source)


def descendants(top: int) -> set[int]:
    """Every process below `top`, from /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    stack = [top]
    while stack:
        below = [pid for pid in children.get(stack.pop(), ()) if pid not in found]
        found.update(below)
        stack += below
    return found


def threads_of(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0
