"""The few system calls that Python has no function for, through libc's `syscall`."""

from __future__ import annotations

import ctypes
import os

from sandboxes.jail.numbers import NUMBERS

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
PR_SET_CHILD_SUBREAPER = 36
PR_CAPBSET_DROP = 24

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


def call(name: str, *args: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Makes the system call `name`; raises OSError with its errno (ENOSYS where this machine lacks it)."""
    number = NUMBERS.get(name)
    if number is None:
        raise OSError(38, f"{name}: not known on this machine type")
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result = _syscall(ctypes.c_long(number), *wide)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def prctl(option: int, value: int = 0) -> int:
    """`prctl(option, value)`; raises OSError."""
    return call("prctl", option, value, 0, 0, 0)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """`mount(2)`; raises OSError naming the target."""
    try:
        call("mount", source.encode(), target.encode(), kind.encode() if kind else None, flags,
             data.encode() if data else None)  # fmt: skip
    except OSError as e:
        raise OSError(e.errno, f"mount {target}: {os.strerror(e.errno or 0)}") from e


def drop_capabilities() -> None:
    """Empties the permitted, effective and inheritable capability sets of the calling thread."""
    header = (0x20080522).to_bytes(4, "little") + (0).to_bytes(4, "little")  # version 3, own thread
    call("capset", header, bytes(24))
