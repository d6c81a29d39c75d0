"""The template: one clean interpreter a profile, which imports the profile's modules once and forks a slot
on request.

Started by the host with its control socket as standard input. One message in (what to import, what to put
on), one hello out (what is on), then one fork for every `spawn` message, each of which carries that slot's
own socket. It ends when the socket closes, which is also what happens when the host is killed.
"""

from __future__ import annotations

import array
import gc
import importlib
import io
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from sandboxes.inside import slot
from sandboxes.jail import landlock, plan, rlimits, seccomp, syscalls

MAX_MESSAGE = 1 << 16
CONTROL_FD = 9


def main() -> None:
    """Entry point of the exec'd interpreter."""
    os.dup2(0, CONTROL_FD, inheritable=False)
    _standard_streams()
    control = socket.socket(fileno=CONTROL_FD)
    options = json.loads(control.recv(MAX_MESSAGE))
    if options["die_with_parent"]:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        jail_plan = prepare(options)
    except Exception as e:  # noqa: BLE001 (told to the host, which refuses to start)
        control.send(json.dumps({"error": f"{type(e).__name__}: {e}"}).encode())
        return
    control.send(json.dumps({"plan": _fields(jail_plan), "speed_s": _speed(), "missing": []}).encode())
    _serve(control, jail_plan)


def _standard_streams() -> None:
    """Fresh stream objects over regular files, so that nothing is cached about the socket that was fd 0. The
    files themselves are put in place of these in each child."""
    for fd in (0, 1):
        placeholder = os.memfd_create("none", os.MFD_CLOEXEC)
        os.dup2(placeholder, fd)
        os.close(placeholder)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = io.open(fd, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115, UP020
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def prepare(options: dict[str, Any]) -> plan.Plan:
    """Puts on what a template can, imports the profile, and says what is on. Raises OSError or
    ImportError."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    rlimits.apply_static()
    sys.path.extend(options["paths"])
    for name in options["imports"]:
        importlib.import_module(name)
    del sys.path[len(sys.path) - len(options["paths"]) :]
    sys.path.extend(options["paths"])
    root = os.geteuid() == 0
    return plan.Plan(
        landlock=landlock.abi() if options["use_landlock"] else 0,
        seccomp=seccomp.available(),
        namespaces=(),
        root=root,
        drops_uid=root and plan.readable_by_others(os.path.dirname(os.__file__)),
        capabilities_dropped=root,
        work=options["work"],
        read_dirs=tuple(_package_dirs()),
    )


def _package_dirs() -> list[str]:
    """Directories of imported packages outside the standard library, which may import more of themselves
    later."""
    stdlib = os.path.dirname(os.__file__)
    found = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or "." in name or name == "sandboxes":
            continue
        if "site-packages" in file or "dist-packages" in file or not file.startswith(stdlib):
            directory = os.path.dirname(file) if os.path.basename(file).startswith("__init__.") else file
            found.add(directory)
            found.add(directory + ".libs")
    return sorted(found)


def _fields(jail_plan: plan.Plan) -> dict[str, Any]:
    return {name: getattr(jail_plan, name) for name in jail_plan.__slots__}


def _speed() -> float:
    """CPU seconds of a fixed piece of work: the smallest of several, so that neighbours count little."""

    def work() -> float:
        start = time.process_time()
        table: dict[int, int] = {}
        for i in range(20_000):
            table[i % 997] = table.get(i % 991, 0) + i * i % 7
        return time.process_time() - start

    return min(work() for _ in range(7))


def _serve(control: socket.socket, jail_plan: plan.Plan) -> None:
    gc.collect()
    gc.freeze()
    poller = select.poll()
    poller.register(control, select.POLLIN)
    slots: set[int] = set()
    while True:
        poller.poll(1000 if slots else None)
        _reap(slots)
        if not poller.poll(0):
            continue
        data, fds = _receive(control)
        if not data:
            break
        message = json.loads(data)
        pid = os.fork()
        if pid == 0:
            control.close()
            try:
                slot.serve(socket.socket(fileno=fds[0]), jail_plan, message)
            finally:
                os._exit(0)
        slots.add(pid)
        for fd in fds:
            os.close(fd)
    deadline = time.monotonic() + 2
    while slots and time.monotonic() < deadline:
        _reap(slots)
        time.sleep(0.002)
    for pid in slots:
        os.kill(pid, signal.SIGKILL)
    slot.remove_tree(jail_plan.work)


def _reap(slots: set[int]) -> None:
    for pid in list(slots):
        if os.waitpid(pid, os.WNOHANG)[0]:
            slots.discard(pid)


def _receive(control: socket.socket) -> tuple[bytes, array.array[int]]:
    data, ancillary, _, _ = control.recvmsg(MAX_MESSAGE, 256, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return data, fds
