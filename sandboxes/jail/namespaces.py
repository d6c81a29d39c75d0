"""Enters namespaces where the host allows them: a private network, IPC and host name, and a file system of few
read-only trees in which no other file can even be named.

    enter: unshare (with a user namespace unless root) ─► identity map ─► new root of bind mounts ─► pivot
    PidNamespaces: a PID namespace for each slot, so that all of a slot's processes die with it

Everything here is tried, not assumed: containers often deny `unshare`, `mount`, or both.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from berry.sandboxes.jail import syscalls

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
_ST_FLAGS = ((1, MS_RDONLY), (2, MS_NOSUID), (4, MS_NODEV), (8, MS_NOEXEC), (1024, 1024), (2048, 2048), (4096, 1 << 21))
_TOP_LEVEL = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_FILES = ("/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_DIRECTORIES = ("/etc/alternatives",)


def enter() -> tuple[str, ...]:
    """Unshares what can be unshared; returns the names of what is new. Raises OSError where nothing can
    be."""
    flags = {"mount": syscalls.CLONE_NEWNS, "net": syscalls.CLONE_NEWNET, "ipc": syscalls.CLONE_NEWIPC,
             "uts": syscalls.CLONE_NEWUTS, "pid": syscalls.CLONE_NEWPID}  # fmt: skip
    total = sum(flags.values())
    try:
        syscalls.call("unshare", total)
    except PermissionError:
        uid, gid = os.getuid(), os.getgid()
        syscalls.call("unshare", syscalls.CLONE_NEWUSER | total)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as f:
                f.write(text)
        return ("user", *flags)
    return tuple(flags)


def private_root(work: str, trees: Iterable[str], hidden: Iterable[str], size_bytes: int) -> None:
    """Replaces the root by one that holds the system's libraries and tools and `trees`, read-only, with nothing in the
    directories `hidden`, and an empty file system in memory at `work`. Raises OSError, and has changed nothing that
    matters then."""
    syscalls.mount("none", "/", None, MS_REC | MS_PRIVATE)
    syscalls.mount("none", work, "tmpfs", MS_NOSUID | MS_NODEV, f"size={size_bytes},mode=755")
    root = os.path.join(work, "root")
    for name in _TOP_LEVEL:
        source = f"/{name}"
        if os.path.islink(source):
            os.makedirs(root, exist_ok=True)
            os.symlink(os.readlink(source), root + source)
        elif os.path.isdir(source):
            _bind(root, source)
    for source in sorted((*_FILES, *_DIRECTORIES, *trees), key=len):  # a tree before what lies inside it
        if os.path.exists(source) and not os.path.exists(root + source):
            _bind(root, source)
    for path in hidden:
        syscalls.mount("none", root + path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "size=4k,mode=755")
    os.makedirs(root + work)
    syscalls.mount("none", root + work, "tmpfs", MS_NOSUID | MS_NODEV, f"size={size_bytes},mode=755")
    _mount_proc(root + "/proc")
    os.makedirs(root + "/.old")
    syscalls.mount(root, root, None, MS_BIND | MS_REC)
    syscalls.call("pivot_root", root.encode(), (root + "/.old").encode())
    os.chdir("/")
    syscalls.call("umount2", b"/.old", MNT_DETACH)
    os.rmdir("/.old")


def file_system(directory: str, size_bytes: int) -> None:
    """Mounts an empty file system in memory, so that what one slot writes leaves the others their room. Raises
    OSError."""
    syscalls.mount("none", directory, "tmpfs", MS_NOSUID | MS_NODEV, f"size={size_bytes},mode=755")


def detach(directory: str) -> None:
    """Takes away what is mounted on a directory. Raises OSError."""
    syscalls.call("umount2", directory.encode(), MNT_DETACH)


def _mount_proc(target: str) -> None:
    """Mounts the process table of this namespace alone, where the host allows it. Runtimes ask it for the path of their
    own program (rustc, mono); landlock keeps every file in it closed to jobs."""
    os.makedirs(target)
    for options in ("subset=pid,hidepid=2", "hidepid=2"):
        try:
            syscalls.mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
        except OSError:
            continue
        return
    os.rmdir(target)


def _bind(root: str, source: str) -> None:
    target = root + source
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    syscalls.mount(source, target, None, MS_BIND | MS_REC)
    present = os.statvfs(target).f_flag
    kept = sum(flag for bit, flag in _ST_FLAGS if present & bit)
    nodev = 0 if source.startswith("/dev/") else MS_NODEV
    syscalls.mount("none", target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | nodev | kept)


class PidNamespaces:
    """Forks children into PID namespaces of their own. For a process that is itself the first of one."""

    def __init__(self) -> None:
        self._home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def fork(self) -> int:
        """Forks as `os.fork` does, the child being process 1 of a new PID namespace. Raises OSError."""
        syscalls.call("unshare", syscalls.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            syscalls.call("setns", self._home, syscalls.CLONE_NEWPID)
        else:
            os.close(self._home)
        return pid
