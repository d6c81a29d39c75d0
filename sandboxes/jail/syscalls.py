"""Makes the few system calls that Python has no function for, through libc's `syscall`."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable

from berry.sandboxes.jail.numbers import NUMBERS

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


Argument = int | bytes | ctypes.Array[ctypes.c_char] | ctypes.Array[ctypes.c_int] | None


class Bound:
    """A system call with its arguments made ready, for the moments after a fork in which every touched page
    costs."""

    def __init__(self, name: str, *args: Argument) -> None:
        self.name = name
        number = NUMBERS.get(name)
        if number is None:
            raise OSError(errno.ENOSYS, f"{name}: not known on this machine type")
        self._args = [ctypes.c_long(number)]
        self._args += [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
        self.kept: object = None
        """What the arguments point to and must live as long as this."""

    def __call__(self) -> int:
        """Makes the call; raises OSError with its errno."""
        result = _syscall(*self._args)
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"{self.name}: {os.strerror(code)}")
        return result


def call(name: str, *args: Argument) -> int:
    """Makes the system call `name`; raises OSError with its errno (ENOSYS where this machine lacks it)."""
    return Bound(name, *args)()


def prctl(option: int, value: int = 0) -> int:
    """Calls `prctl(option, value)`; raises OSError."""
    return call("prctl", option, value, 0, 0, 0)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Calls `mount(2)`; raises OSError naming the target."""
    try:
        call("mount", source.encode(), target.encode(), kind.encode() if kind else None, flags,
             data.encode() if data else None)  # fmt: skip
    except OSError as e:
        raise OSError(e.errno, f"mount {target}: {os.strerror(e.errno or 0)}") from e


fork: Callable[[], int] = ctypes.PyDLL(None).fork
"""libc's fork, for a process with one thread, that child and parent both go on from. `os.fork` also runs
every hook that modules have registered for the child: they put locks and seeds of other threads right, of
which there are none here, and touch so many pages that the fork takes twice as long."""


def no_capabilities() -> Bound:
    """Makes the call that empties the permitted, effective and inheritable capability sets of the calling thread."""
    header = (0x20080522).to_bytes(4, "little") + (0).to_bytes(4, "little")  # version 3, own thread
    return Bound("capset", header, bytes(24))


def death_signal(number: int = signal.SIGKILL) -> Bound:
    """Makes the call that sends the caller this signal when the thread that forked it ends."""
    return Bound("prctl", PR_SET_PDEATHSIG, number, 0, 0, 0)
