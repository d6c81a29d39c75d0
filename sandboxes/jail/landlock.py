"""Restricts with landlock which files a job may touch, and (where the kernel has it) TCP, signals out and abstract
sockets.

All rights that the kernel's ABI level knows are handled, so everything not granted below is denied: level 1
files, 2 moving between directories, 3 truncation, 4 TCP, 5 device ioctls, 6 signal and abstract-socket
scopes, 7 quiet logs. What it leaves open at every level: `stat` on any path, and changing the mode of one's
own files.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from berry.sandboxes.jail import syscalls

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_MAKE_AND_REMOVE = 0x1FF0 & ~(1 << 6) & ~(1 << 11)  # no character or block devices
READ = READ_FILE | READ_DIR
READ_EXECUTE = READ | EXECUTE
WORK = READ | WRITE_FILE | _MAKE_AND_REMOVE | REFER | TRUNCATE
WORK_EXECUTE = WORK | EXECUTE
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_O_PATH = 0o10000000


def abi() -> int:
    """Reads the kernel's landlock level; 0 when it has none or it is switched off."""
    try:
        return syscalls.call("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def _handled(level: int) -> tuple[int, int, int]:
    """Computes all file, network and scope rights of a level."""
    files = (1 << 13) - 1
    for since, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)):
        files |= right if level >= since else 0
    return files, 3 if level >= 4 else 0, 3 if level >= 6 else 0


class Ruleset:
    """Holds paths and rights as an open ruleset; `restrict` confines the caller and may be used once for every
    fork."""

    def __init__(self, rules: Iterable[tuple[str | int, int]], *, level: int) -> None:
        """Paths that don't exist are skipped; a number is an open descriptor. Raises OSError."""
        self._files, network, scopes = _handled(level)
        attributes = struct.pack("=QQQ", self._files, network, scopes)
        size = 8 if level < 4 else 16 if level < 6 else 24
        self.fd = syscalls.call("landlock_create_ruleset", attributes, size, 0)
        for path, rights in rules:
            self._allow(path, rights)
        self.restrict = syscalls.Bound("landlock_restrict_self", self.fd, 1 if level >= 7 else 0)
        """Confines the calling process and its children, for good. Needs no_new_privs. Raises OSError."""

    def _allow(self, path: str | int, rights: int) -> None:
        try:
            fd = os.dup(path) if isinstance(path, int) else os.open(path, _O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            return
        try:
            if not os.path.isdir(path):
                rights &= _FILE_RIGHTS
            syscalls.call("landlock_add_rule", self.fd, 1, struct.pack("=Qi", rights & self._files, fd), 0)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Closes the ruleset."""
        os.close(self.fd)
