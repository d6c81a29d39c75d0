"""Runs a command with less privilege than it was started with: `python lower.py user|pod|old|bare COMMAND…`.

`user` becomes an ordinary user without capabilities (when started by root). `pod` does the same and denies
new namespaces and mounts by seccomp, as unprivileged containers do. `old` leaves all privilege but has no
landlock, `bare` has neither landlock nor namespaces. Not imported by tests: it is a launcher.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import tempfile

UID = 64_999
_libc = ctypes.CDLL(None, use_errno=True)
# unshare, mount, umount2, setns, pivot_root, chroot, move_mount and fsopen
_DENIED = {"x86_64": (272, 165, 166, 308, 155, 161, 429, 430), "aarch64": (97, 40, 39, 268, 41, 51, 429, 430)}


def _check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "lower.py")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()))


def reach_the_interpreter(paths: list[str]) -> None:
    """Where Python lives in a home that only root may enter, shows just these directories of it to everyone,
    in a mount namespace of this process's own."""
    for path in paths:
        closed = path
        while closed != "/" and os.stat(os.path.dirname(closed)).st_mode & 1:
            closed = os.path.dirname(closed)
        closed = os.path.dirname(closed)
        if closed == "/" or os.stat(closed).st_mode & 1:
            continue
        _check(_libc.unshare(0x00020000))
        _mount("none", "/", "", 16384 | (1 << 18))
        aside = tempfile.mkdtemp()
        _mount(path, aside, "", 4096)
        _mount("none", closed, "tmpfs", 0, "mode=755")
        os.makedirs(path)
        _mount(aside, path, "", 4096)
        _check(_libc.umount2(aside.encode(), 2))
        os.rmdir(aside)


def deny(numbers: tuple[int, ...], *, namespaces: bool) -> None:
    """The system calls of these numbers answer EPERM. For namespaces: unshare, mount, umount2, setns,
    pivot_root, chroot and their newer forms answer EPERM; clone may not take namespace flags."""
    clone = 56 if os.uname().machine == "x86_64" else 220
    code = [(0x20, 0, 0, 0)]
    for number in numbers:
        code += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050001)]
    if namespaces:
        code += [(0x15, 0, 1, 435), (0x06, 0, 0, 0x00050026)]
        code += [(0x15, 0, 3, clone), (0x20, 0, 0, 16), (0x45, 0, 1, 0x7E020000), (0x06, 0, 0, 0x00050001)]
    code += [(0x06, 0, 0, 0x7FFF0000)]
    raw = b"".join(struct.pack("=HBBI", *i) for i in code)
    buffer = ctypes.create_string_buffer(raw, len(raw))
    _check(_libc.prctl(38, 1, 0, 0, 0))
    program = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    _check(_libc.prctl(22, 2, program, 0, 0))


def main() -> None:
    level, *command = sys.argv[1:]
    if os.geteuid() == 0 and level in ("user", "pod"):
        reach_the_interpreter([sys.base_prefix])
        os.setgroups([])
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)
    denied = _DENIED[os.uname().machine]
    if level == "pod":
        deny(denied, namespaces=True)
    if level == "old":
        deny((444,), namespaces=False)
    if level == "bare":
        deny((*denied, 444), namespaces=True)
    os.execvp(command[0], command)


main()
