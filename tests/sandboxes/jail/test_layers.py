"""What a child inherits from its slot and what it adds: together as strict as one filter, and marks that stay."""

from __future__ import annotations

import os
import random
import resource
import struct

import pytest

from berry.sandboxes.inside import slot_protocol, stages
from berry.sandboxes.jail import seccomp, syscalls
from berry.sandboxes.jail.numbers import AUDIT_ARCH, MACHINE, NUMBERS

KINDS: tuple[seccomp.Kind, ...] = ("python", "program", "tools")
FORK = 0x01200011
THREAD = 0x003D0F00


def verdict(code: bytes, number: int, args: list[int], arch: int = AUDIT_ARCH[MACHINE]) -> int:
    """What the kernel would make of a system call: the filter's program, run by hand."""
    data = struct.pack("=iIQ6Q", number, arch, 0, *args)
    lines = list(struct.iter_unpack("=HBBI", code))
    at = a = x = 0
    while True:
        op, yes, no, k = lines[at]
        at += 1
        if op == 0x06:
            return k
        if op == 0x20:
            (a,) = struct.unpack_from("=I", data, k)
        elif op == 0x00:
            a = k
        elif op == 0x05:
            at += k
        elif op == 0x54:
            a &= k
        elif op == 0x74:
            a >>= k
        elif op == 0x7C:
            a >>= x
        elif op == 0x07:
            x = a
        else:
            holds = {0x15: a == k, 0x35: a >= k, 0x45: a & k != 0}[op]
            at += yes if holds else no


def strictness(action: int) -> int:
    return 2 if action == seccomp.KILL else 0 if action == seccomp.ALLOW else 1


@pytest.mark.parametrize("contained", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_two_layers_answer_as_one_filter(kind, contained):
    one = seccomp.build(kind, signals_contained=contained).code
    slot, child = (f.code for f in seccomp.build_layers(kind, signals_contained=contained))
    rng = random.Random(0)
    firsts = [0, 1, 2, 3, 9, 15, 16, 21, 24, 0x5401, 0x5413, 1030, FORK, THREAD, 0x10000000, 0x7FFFFFFF]
    for number in [*range(470), 0x40000001]:
        for first in firsts:
            args = [first, rng.choice(firsts), 0, 0, 0, 0]
            together = max((verdict(f, number, args) for f in (child, slot)), key=strictness)
            assert together == verdict(one, number, args), (number, args)
    assert verdict(slot, 0, [0] * 6, arch=3) == seccomp.KILL


def test_a_filter_lives_as_long_as_what_loads_it():
    load = seccomp.build("program", signals_contained=True).load
    churn = [bytes(n) for n in range(600, 3000)]
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            load()
        except OSError:
            os._exit(1)
        os._exit(0)
    assert churn
    assert os.waitpid(pid, 0)[1] == 0


def test_a_slot_may_fork_and_its_child_not():
    slot, child = (f.code for f in seccomp.build_layers("python", signals_contained=True))
    calls = (("clone", [FORK]), ("kill", [1, 9]), ("memfd_create", []), ("prctl", [1, 9]), ("seccomp", [1]))
    for name, args in calls:
        full = [*args, *[0] * (6 - len(args))]
        assert verdict(slot, NUMBERS[name], full) == seccomp.ALLOW, name
        assert verdict(child, NUMBERS[name], full) == seccomp.EPERM, name
    for name in ("execve", "ptrace", "mount", "unshare", "setresuid", "socket"):
        assert verdict(slot, NUMBERS.get(name, 41), [0] * 6) != seccomp.ALLOW, name


def test_a_mark_can_be_read_after_the_end_and_not_be_taken_back():
    pid = os.fork()
    if pid == 0:
        syscalls.no_capabilities()()
        stages.reach(stages.WAITING)
        stages.reach(stages.BEGUN)
        try:
            resource.setrlimit(10, (stages.WAITING, stages.WAITING))
        except (ValueError, OSError):
            os._exit(7)
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert stages.reached(pid) == stages.BEGUN
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_process_without_marks_waits():
    assert stages.reached(os.getpid()) == stages.WAITING


def test_orders_and_reports_survive():
    go = slot_protocol.StartChild(1.5, 3.0, 1 << 30, 10, 1 << 80, 4, 8, 2, "prög")
    assert slot_protocol.order(go.pack()) == go._replace(disk_bytes=1 << 62)
    assert slot_protocol.order(go._replace(disk_bytes=20, fetch=None).pack()) == go._replace(disk_bytes=20, fetch=None)
    assert slot_protocol.order(slot_protocol.kill(77)) == 77
    ended = [slot_protocol.Done(i, 9, 0.5, 1.5, 1 << 40, limit, 1) for i, limit in enumerate(slot_protocol.LIMITS)]
    done, ready = slot_protocol.reported(slot_protocol.report(ended, [5, 6]))
    assert done == ended
    assert list(ready) == [5, 6]
    assert slot_protocol.reported(slot_protocol.report([], [])) == ([], ())
