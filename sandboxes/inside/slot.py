"""Forks a child for each job, ahead of time, watches its clocks and cleans up after it.

    ready (pid, four descriptors) ─► host      StartChild (limits) ◄─ host      done (status, usage, limit hit) ─► host

Children are forked and confined ahead, so that a job finds a warm child waiting. A slot runs none of the job's code.
It ends, and its children with it, when its socket closes.
"""

from __future__ import annotations

import _socket
import contextlib
import ctypes
import os
import random
import select
import signal
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from berry.sandboxes.inside import child, processes, slot_protocol, stages, workdir
from berry.sandboxes.inside.channel import Channel
from berry.sandboxes.inside.fast_fork.prepare import ForkAids
from berry.sandboxes.jail import plan, rlimits, syscalls

MAX_WAITING_CHILDREN, MIN_WAITING_CHILDREN = 6, 5
"""Children that wait for a job: filled up to the first number when fewer than the second are left."""
REPORT_DELAY_MS = 2.0
"""How long the report of a child that ended well may wait for the host's next order."""
USAGE_POLL_S = 0.05
"""Longest time between two measurements of a running child's disk use and threads."""


class PreparedChild(NamedTuple):
    """A confined child that waits for its job, and the host's ends of what it holds."""

    pid: int
    pidfd: int
    arena: int
    fds: tuple[int, ...]  # job socket, stdin, stdout, stderr


class Slot:
    """Supervises the children of one slot."""

    def __init__(
        self, sock: _socket.socket, jail_plan: plan.JailPlan, message: dict[str, Any], aids: ForkAids, proc: int
    ) -> None:
        self.proc = proc
        self.sock, self.plan, self.fork_aids = sock, jail_plan, aids
        self.kind = message["kind"]
        directory = os.path.join(jail_plan.work, message["name"])
        uid = plan.FIRST_UID + message["number"] if jail_plan.drops_uid else None
        self.ahead = MAX_WAITING_CHILDREN if message["ahead"] and self.kind != "tools" else 0
        self.jail = plan.SlotJail(jail_plan, self.kind, directory, uid, 1 + self.ahead, proc)
        self.directory = directory
        self.pid = os.getpid()
        self.inbox: deque[slot_protocol.StartChild | int] = deque()
        self.prepared: deque[PreparedChild] = deque()
        self.running: PreparedChild | None = None
        self.pending_reports: list[slot_protocol.Done] = []
        self.free = deque(range(len(self.jail.arenas)))
        self._pair = (ctypes.c_int * 2)()
        stream = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        self._make_pair = syscalls.Bound("socketpair", _socket.AF_UNIX, stream, 0, self._pair)
        for arena in self.free:
            workdir.make_fresh(self.jail.arenas[arena])
        self._is_scoped = jail_plan.signals_contained and not _reaches_outside(os.getppid())
        self._empty_bytes = workdir.taken_bytes(directory)
        self._device = os.stat(directory).st_dev

    def fill(self) -> None:
        """Forks children until enough wait, and reports them to the host. Several in one go, and with as little as can
        be between two forks: each fork takes from the slot all pages that it touches until the next one. Raises OSError
        where none can be forked."""
        self.jail.count_others()
        ends = [self._ends() for _ in range(max(self.ahead, 1) - len(self.prepared))]
        pids = []
        for arena, _, job, files in ends:
            pid = self.fork_aids.fork()
            if pid == 0:
                self._become_child(arena, job, files)
            pids.append(pid)
        fresh: list[PreparedChild] = []
        for pid, (arena, host_end, job, files) in zip(pids, ends, strict=True):
            if pid < 0:
                raise OSError("no child could be forked")
            os.close(job)
            fresh.append(PreparedChild(pid, os.pidfd_open(pid), arena, (host_end, *files)))
        self.prepared += fresh
        self.report(fresh)

    def report(self, ready: Sequence[PreparedChild] = (), fetched: int | None = None) -> None:
        """Reports the children that ended and those that are ready, with their descriptors."""
        fds = [fd for one in ready for fd in one.fds] + ([] if fetched is None else [fetched])
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, slot_protocol.numbers(fds))] if fds else []
        self.sock.sendmsg([slot_protocol.report(self.pending_reports, [one.pid for one in ready])], rights)
        self.pending_reports.clear()
        for one in ready:
            os.close(one.fds[0])
        if fetched is not None:
            os.close(fetched)

    def _ends(self) -> tuple[int, int, int, list[int]]:
        """Makes what one more child needs: a directory, both ends of its job socket, its standard streams."""
        self._make_pair()
        host_end, child_end = self._pair
        files = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("in", "out", "err")]
        return self.free.popleft(), host_end, child_end, files

    def _become_child(self, arena: int, job: int, files: list[int]) -> None:
        try:
            self.jail.confine(arena, self.pid)
            for target, fd in enumerate((*files, job)):  # all above 3: the template holds 0 to 2 and 9
                os.dup2(fd, target)
            os.set_blocking(child.JOB_FD, True)
            os.closerange(4, 1 << 16)
        except BaseException as e:  # noqa: BLE001 (a child that can't be confined must never run a job)
            os.write(files[2], f"confining failed: {e!r}\n".encode())
            os._exit(1)
        try:
            child.main(self.jail, self.kind, Channel())
        finally:
            os._exit(1)  # a job's own end never comes back here

    def run(self, ready: PreparedChild, start: slot_protocol.StartChild) -> slot_protocol.Done:
        """Watches one child to its end; forks the next one meanwhile where none waits."""
        started = time.monotonic()
        if self.ahead and len(self.prepared) < MIN_WAITING_CHILDREN:
            self.fill()
        poller = select.poll()
        poller.register(ready.pidfd, select.POLLIN)
        poller.register(self.sock, select.POLLIN)
        clock = (~ready.pid << 3) | 2
        tree = processes.TreeClock()
        limit: str | None = None
        while True:
            wall = time.monotonic() - started
            try:
                cpu = time.clock_gettime(clock)
            except OSError:
                cpu = 0.0
            if limit is None:
                if self.kind == "tools" and wall > USAGE_POLL_S:
                    taken = processes.tree_usage(self.proc, processes.own_number(self.proc))
                    cpu = max(cpu, tree.read(taken))
                    limit = _tree_limit_exceeded(taken, start)
                limit = limit or self._limit_exceeded(ready, start, cpu, wall)
                if limit:
                    os.kill(ready.pid, signal.SIGKILL)
            poll_s = USAGE_POLL_S if wall > USAGE_POLL_S else 0.02
            left = min(start.wall_s - wall, (start.cpu_s - cpu) / start.cores, poll_s)
            events = poller.poll(1000 if limit else max(1.0, left * 1000))
            if any(fd == ready.pidfd for fd, _ in events):
                break
            if events:
                self.receive()
            if limit is None and (self._host_went_on() or ready.pid in self.inbox):
                limit = "killed"
                os.kill(ready.pid, signal.SIGKILL)
        stage = stages.BEGUN if self._host_went_on() else stages.reached(ready.pid)
        _, status, usage = os.wait4(ready.pid, 0)
        wall = time.monotonic() - started
        self._kill_rest()
        cpu, peak = max(usage.ru_utime + usage.ru_stime, tree.total_s), usage.ru_maxrss * 1024
        return slot_protocol.Done(ready.pid, status, cpu, wall, peak, limit, stage)

    def _host_went_on(self) -> bool:
        """Whether the host has the running child's final frame and gave its next order."""
        return any(isinstance(message, slot_protocol.StartChild) for message in self.inbox)

    def listen(self) -> None:
        """Waits for the next order. Where none comes soon, the pending reports are sent."""
        if self.pending_reports:
            poller = select.poll()
            poller.register(self.sock, select.POLLIN)
            if not poller.poll(REPORT_DELAY_MS):
                self.report()
        self.receive()

    def receive(self) -> None:
        """Takes in one message. Raises ConnectionError when there will be no more."""
        data = self.sock.recv(4096)
        if not data:
            raise ConnectionResetError("the host closed the socket")
        self.inbox.append(slot_protocol.order(data))

    def _limit_exceeded(
        self, ready: PreparedChild, start: slot_protocol.StartChild, cpu: float, wall: float
    ) -> str | None:
        """Names the limit that a running child has exceeded, if any."""
        if cpu > start.cpu_s:
            return "cpu"
        if wall > start.wall_s:
            return "wall"
        if wall < USAGE_POLL_S:
            return None
        if max(os.fstat(fd).st_size for fd in ready.fds[2:4]) > start.output_bytes:
            return "output"
        if self._disk_bytes(ready, start) > start.disk_bytes:
            return "disk"
        if self.kind == "program" and self._memory_bytes(ready) > start.memory_bytes + rlimits.STACK_BYTES:
            return "memory"
        if not self.plan.counts_tasks and processes.threads_of(ready.pid) > start.threads:
            return "processes"
        return None

    def _disk_bytes(self, ready: PreparedChild, start: slot_protocol.StartChild) -> int:
        """Measures what a running child takes of the disk, files without a name included."""
        named = workdir.tree_bytes(self.jail.arenas[ready.arena], start.disk_bytes)
        if named > start.disk_bytes:
            return named
        if self.plan.slot_bytes:
            return max(named, workdir.taken_bytes(self.directory) - self._empty_bytes)
        return named + processes.nameless_bytes(self.proc, self._numbers(ready), self.directory, self._device)

    def _memory_bytes(self, ready: PreparedChild) -> int:
        """Measures what a running child takes of memory, that included which no limit of the kernel counts."""
        pids = self._numbers(ready)
        try:
            held = max((processes.memory_of(self.proc, pid) for pid in pids), default=0)
        except OSError:
            return 0
        return held + processes.buffer_bytes(self.proc, pids)

    def _numbers(self, ready: PreparedChild) -> set[int]:
        """The numbers in /proc of a running job's processes."""
        if self.kind == "tools":
            return self._descendants()
        try:
            return {processes.number_of(self.proc, ready.pidfd)}
        except (OSError, ValueError):
            return set()

    def _descendants(self) -> set[int]:
        """Every process below this one; without a PID namespace, in which numbers would differ from those of /proc."""
        return processes.descendants(self.proc, processes.own_number(self.proc))

    def _kill_rest(self) -> None:
        """Ends whatever a job left behind. Where signals stay inside (a PID namespace, the scope of landlock) one
        reaches all of it, and no process can fork past it; elsewhere this slot has adopted the orphans and stops them
        all before it kills any, so that none can start another meanwhile. A bomb forks faster than they are found."""
        if self.kind != "tools":
            return
        if "pid" in self.plan.namespaces or self._is_scoped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        else:
            stopped: set[int] = set()
            while fresh := self._descendants() - stopped:
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

    def serve(self, start: slot_protocol.StartChild) -> None:
        """Supervises one child's job, from the order to the report. The report waits for the next one where the child
        ended well: the host most likely has its final frame and goes on, and each report wakes it."""
        ready = self.running = self.prepared.popleft()
        done = self.run(ready, start)
        self.running = None
        for fd in (ready.pidfd, *ready.fds[1:]):
            os.close(fd)
        self.pending_reports.append(done)
        may_wait = self.kind == "python" and done.status == 0  # programs of other kinds send no final frame
        if not may_wait and not self._host_went_on():
            self.report(fetched=self._fetched(start.fetch, ready.arena))
        workdir.make_fresh(self.jail.arenas[ready.arena])
        self.free.append(ready.arena)
        if not self.ahead:
            self.fill()

    def _fetched(self, fetch: str | None, arena: int) -> int | None:
        """Copies the file that the host asked for."""
        return None if fetch is None else workdir.copy_in_memory(os.path.join(self.jail.arenas[arena], "w", fetch))

    def end(self) -> None:
        """Kills what runs and waits, empties the slot's directory, which its template removes, and exits."""
        for ready in (*([self.running] if self.running else ()), *self.prepared):
            os.kill(ready.pid, signal.SIGKILL)
            os.waitpid(ready.pid, 0)
        self._kill_rest()
        workdir.remove_tree(self.directory, keep=True)
        os._exit(0)


def _reaches_outside(pid: int) -> bool:
    """Whether a signal of this process reaches one that is not below it; none is sent."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    except ProcessLookupError:
        return True  # nobody is there who could tell
    return True


def _tree_limit_exceeded(taken: processes.Usage, start: slot_protocol.StartChild) -> str | None:
    """Names the limit that the processes of a job have exceeded together, if any; CPU time is the slot's own to
    judge."""
    if taken.memory_bytes > start.memory_bytes:
        return "memory"
    if taken.threads > start.threads + start.processes:
        return "processes"
    return None


def serve(
    sock: _socket.socket, jail_plan: plan.JailPlan, message: dict[str, Any], template: int, aids: ForkAids, proc: int
) -> None:
    """Serves a slot until its socket closes."""
    syscalls.death_signal()()
    if os.getppid() not in (0, template):  # 0: in a PID namespace of its own
        return
    os.setsid()  # no terminal; once here and not in every child, where a new session may mean a new scheduling group
    syscalls.call("prctl", syscalls.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    random.seed(0)  # every child goes on from here: equal jobs draw equal numbers
    if message["kind"] == "python":
        aids.pin()
    rlimits.lock_no_memory()
    slot = Slot(sock, jail_plan, message, aids, proc)
    syscalls.death_signal()()  # a change of user id has cleared it
    stages.reach(stages.WAITING)
    aids.freeze()
    try:
        slot.fill()
        while True:
            if not slot.inbox:
                slot.listen()
            order = slot.inbox.popleft()
            if isinstance(order, slot_protocol.StartChild):  # else a kill for a child that has ended
                slot.serve(order)
    except ConnectionError:
        slot.end()
