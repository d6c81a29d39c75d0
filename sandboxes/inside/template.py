"""Imports a profile's modules once, in a clean interpreter, and forks a slot on request.

Started by the host with its control socket as standard input. One message in (what to import, what to put
on), one hello out (what is on), then one fork for every `spawn` message, each of which carries that slot's
own socket. It ends when the socket closes, which is also what happens when the host is killed.
"""

from __future__ import annotations

import _socket
import contextlib
import importlib
import io
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from berry.sandboxes.inside import slot, slot_protocol, workdir
from berry.sandboxes.inside.fast_fork import code_pages
from berry.sandboxes.inside.fast_fork.prepare import ForkAids, prepare_for_forking
from berry.sandboxes.jail import landlock, namespaces, plan, rlimits, seccomp, syscalls, visible

MAX_MESSAGE_BYTES = 1 << 16
CONTROL_FD = 9


def main() -> None:
    """Runs the template from the first message to the closing of its socket."""
    os.dup2(0, CONTROL_FD, inheritable=False)
    os.environ.pop(code_pages.BIND_NOW, None)  # not for jobs to see
    _standard_streams()
    control = _socket.socket(fileno=CONTROL_FD)
    options = json.loads(control.recv(MAX_MESSAGE_BYTES))
    if options["die_with_parent"]:
        _die_with_parent()
    work, _lock = workdir.make(options["directory"])
    notes: list[str] = []
    entered = _enter_namespaces(notes) if options["namespaces"] else ()
    fork: Callable[[], int] = os.fork
    if "pid" in entered:
        _go_on_as_first_process(work)
        fork = namespaces.PidNamespaces().fork
    try:
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        jail_plan = prepare(options, work, entered, notes)
        speed_s = _speed()
        aids = prepare_for_forking(options["fast_fork"], proc)
    except Exception as e:  # noqa: BLE001 (told to the host, which refuses to start)
        control.send(json.dumps({"error": f"{type(e).__name__}: {e}"}).encode())
        if "pid" not in entered:
            workdir.remove_tree(work)
        return
    control.send(json.dumps({"plan": jail_plan._asdict(), "speed_s": speed_s}).encode())
    _serve(control, jail_plan, fork, aids, proc)


def _enter_namespaces(notes: list[str]) -> tuple[str, ...]:
    try:
        return namespaces.enter()
    except OSError as e:
        notes.append(f"namespaces: {e}")
        return ()


def _die_with_parent() -> None:
    """Bounds this process's life after the host's: the socket closes then, and it cleans up and ends; should it be
    stuck, the death signal gives it a few seconds more."""

    def end_soon(*_: object) -> None:
        signal.alarm(5)

    signal.signal(signal.SIGTERM, end_soon)
    syscalls.death_signal(signal.SIGTERM)()


def _go_on_as_first_process(work: str) -> None:
    """Continues in a fork that is process 1 of the new PID namespace, in a mount namespace of its own. This
    process, which still sees the host's files, only waits for it, removes the working directory and ends."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(CONTROL_FD)
        os.waitpid(pid, 0)
        workdir.remove_tree(work)
        os._exit(0)
    syscalls.death_signal()()
    if os.getppid() not in (0, parent):  # 0: the parent is outside the namespace
        os._exit(0)
    syscalls.call("unshare", syscalls.CLONE_NEWNS)


def _standard_streams() -> None:
    """Makes fresh stream objects over regular files, so that nothing is cached about the socket that was fd 0. The
    files themselves are put in place of these in each child."""
    for fd in (0, 1):
        placeholder = os.memfd_create("none", os.MFD_CLOEXEC)
        os.dup2(placeholder, fd)
        os.close(placeholder)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = io.TextIOWrapper(
            io.BufferedWriter(io.FileIO(fd, "w", closefd=False)),
            encoding="utf-8",
            errors="backslashreplace",
            line_buffering=name == "stderr",
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def prepare(options: dict[str, Any], work: str, entered: tuple[str, ...], notes: list[str]) -> plan.JailPlan:
    """Confines this process as far as a template can be, imports the profile, and returns what is on. Raises OSError
    or ImportError."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    paths, tools = options["paths"], options["tool_directories"]
    needed = [os.path.join(path, "") for path in (*paths, *tools)]
    installed = [*visible.packages_in_stdlib(), *visible.packages_of_the_system()]
    hidden = [path for path in installed if not any(one.startswith(path + "/") for one in needed)]
    with open("/proc/self/statm") as statm:
        capabilities = effective_capabilities()
        if "mount" in entered:
            try:
                namespaces.private_root(
                    work, [sys.base_prefix, *paths, *tools, *visible.runtime_settings()], hidden, options["work_bytes"]
                )
            except OSError as e:
                notes.append(f"mounts: {e}")
                entered = tuple(name for name in entered if name != "mount")
        syscalls.call("prctl", syscalls.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        rlimits.apply_static()
        sys.path.extend(paths)
        for name in options["imports"]:
            importlib.import_module(name)
        for path in paths:  # a listing made here would name packages that children may not open
            sys.path_importer_cache.pop(path, None)
        base_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    return plan.JailPlan(
        landlock=landlock.abi() if options["landlock"] else 0,
        seccomp=seccomp.available() and options["seccomp"],
        namespaces=entered,
        root=os.geteuid() == 0,
        drops_uid=capabilities >= plan.DROP_CAPABILITIES and plan.readable_by_others(os.path.dirname(os.__file__)),
        work=work,
        read_dirs=tuple(_package_dirs()),
        tool_dirs=tuple(tools),
        base_bytes=base_bytes,
        slots=options["slots"],
        slot_bytes=options["slot_bytes"] if "mount" in entered else 0,
        hides_packages="mount" in entered and hidden == installed,
        notes=tuple(notes),
    )


def effective_capabilities() -> set[int]:
    """Reads the numbers of the capabilities that this process may use."""
    with open("/proc/self/status") as f:
        mask = next(int(line.split()[1], 16) for line in f if line.startswith("CapEff"))
    return {bit for bit in range(64) if mask >> bit & 1} if os.geteuid() == 0 else set()


def _package_dirs() -> list[str]:
    """Finds the directories of imported packages outside the standard library, which may import more of themselves
    later."""
    stdlib = os.path.dirname(os.__file__)
    directories = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        parent, _, child = name.rpartition(".")
        if not file or name == "berry" or parent not in ("", "berry") or (parent and child == "sandboxes"):
            continue
        if "site-packages" in file or "dist-packages" in file or not file.startswith(stdlib):
            directory = os.path.dirname(file) if os.path.basename(file).startswith("__init__.") else file
            directories.add(directory)
            directories.add(directory + ".libs")
    return sorted(directories)


def _speed() -> float:
    """Measures CPU seconds of a fixed piece of work: the smallest of several, so that neighbours count little."""

    def work() -> float:
        start = time.process_time()
        table: dict[int, int] = {}
        for i in range(20_000):
            table[i % 997] = table.get(i % 991, 0) + i * i % 7
        return time.process_time() - start

    return min(work() for _ in range(7))


def _serve(
    control: _socket.socket, jail_plan: plan.JailPlan, fork: Callable[[], int], aids: ForkAids, proc: int
) -> None:
    """Forks a slot for every message until the socket closes, then waits for the slots and removes what is
    left."""
    poller = select.poll()
    poller.register(control, select.POLLIN)
    slots: dict[int, str] = {}
    while True:
        events = poller.poll(1000 if slots else None)
        _reap(slots, jail_plan)
        if not events:
            continue
        data, fds = _receive(control)
        if not data:
            break
        template, message = os.getpid(), json.loads(data)
        pid = fork()
        if pid == 0:
            control.close()
            try:  # an exception's traceback goes to the host, which asks for a new slot
                slot.serve(_socket.socket(fileno=fds[0]), jail_plan, message, template, aids, proc)
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
                sys.stderr.flush()
            os._exit(0)
        slots[pid] = os.path.join(jail_plan.work, message["name"])
        for fd in fds:
            os.close(fd)
    deadline = time.monotonic() + 2
    while slots and time.monotonic() < deadline:
        _reap(slots, jail_plan)
        time.sleep(0.002)
    for pid, directory in slots.items():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        _remove(directory, jail_plan)
    if "pid" not in jail_plan.namespaces:
        workdir.remove_tree(jail_plan.work)


def _remove(directory: str, jail_plan: plan.JailPlan) -> None:
    """Removes a slot's directory with all that is in it."""
    if jail_plan.slot_bytes:
        with contextlib.suppress(OSError):  # it ended before it had one
            namespaces.detach(directory)
    workdir.remove_tree(directory)


def _reap(slots: dict[int, str], jail_plan: plan.JailPlan) -> None:
    """Waits for slots that ended and removes their directories; also for their orphans where this process is the first
    of its namespace."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in slots:
            _remove(slots.pop(pid), jail_plan)


def _receive(control: _socket.socket) -> tuple[bytes, tuple[int, ...]]:
    data, ancillary, _, _ = control.recvmsg(MAX_MESSAGE_BYTES, 256, _socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += slot_protocol.numbers_of(payload)
    return data, tuple(fds)
