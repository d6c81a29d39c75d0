"""Makes, measures, copies from and removes working directories, whatever a job has put into them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time

PREFIX = "berry-sandbox-"
STALE_AFTER_S = 60.0
MAX_DEPTH = 128
"""Levels of directories below a working directory; more count as a full disk."""


def make(base: str) -> tuple[str, int]:
    """Makes a new directory under `base`; returns its path and a descriptor whose lock marks it as in use. Directories
    that a killed pool left there are removed first. Raises OSError."""
    _sweep(base)
    path = os.path.join(base, PREFIX + os.urandom(8).hex())
    os.mkdir(path, 0o700)
    os.chmod(path, 0o755)
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return path, lock


def _sweep(base: str) -> None:
    for name in os.listdir(base):
        path = os.path.join(base, name)
        if not name.startswith(PREFIX):
            continue
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if time.time() - os.fstat(lock).st_mtime > STALE_AFTER_S and os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_tree(path)
            finally:
                os.close(lock)


def tree_bytes(top: str, enough: int, entries: int = 20_000) -> int:
    """Measures bytes on disk under `top`; stops counting past `enough`. Every entry counts for at least one block, and
    a chain of directories deeper than any honest one for too much: to walk it takes time that grows with its square. So
    does a directory that can't be read."""
    total, stack = 0, [(top, 0)]
    while stack:
        path, depth = stack.pop()
        if depth > MAX_DEPTH:
            return enough + 1
        try:
            with os.scandir(path) as listing:
                for entry in listing:
                    total += max(entry.stat(follow_symlinks=False).st_blocks * 512, 512)
                    entries -= 1
                    if total > enough or entries < 0:
                        return enough + 1
                    if entry.is_dir(follow_symlinks=False):
                        stack.append((entry.path, depth + 1))
        except FileNotFoundError:
            continue  # removed meanwhile
        except OSError:
            return enough + 1
    return total


def taken_bytes(top: str) -> int:
    """Reads how much of its file system is taken, removed files that are still open or mapped included."""
    found = os.statvfs(top)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def remove_tree(path: str, *, keep: bool = False) -> None:
    """Removes a directory, however deep, whatever its modes; `keep` leaves it empty. Deep trees are
    flattened first, so that no path grows too long. What is no directory is removed itself: a link is not followed."""
    flat = 0
    try:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            os.unlink(path)
            return
    except FileNotFoundError:
        return
    while True:
        try:
            names = os.listdir(path)
        except PermissionError:
            os.chmod(path, 0o700)
            continue
        except FileNotFoundError:
            return
        if not names:
            break
        for name in names:
            entry = os.path.join(path, name)
            mode = os.lstat(entry).st_mode
            if not stat.S_ISDIR(mode):
                os.unlink(entry)
                continue
            os.chmod(entry, 0o700)
            for inner in os.listdir(entry):
                source = os.path.join(entry, inner)
                if stat.S_ISDIR(os.lstat(source).st_mode):
                    os.chmod(source, 0o700)
                    flat += 1
                    os.rename(source, os.path.join(path, f".flat-{flat}-{os.getpid()}"))
                else:
                    os.unlink(source)
            os.rmdir(entry)
    if not keep:
        os.rmdir(path)


def make_fresh(top: str) -> None:
    """Replaces whatever is in `top` by one empty directory `w`, with fixed modes and times. Only this process may
    change what `top` itself holds: a job can neither move `w` away nor leave a name or a size there for the next.
    A `w` in which no job made, removed or listed anything stays, since it is fresh but for the time of its last change.
    Raises OSError."""
    work = os.path.join(top, "w")
    if not _untouched(top, work):
        os.chmod(top, 0o755)
        try:
            os.rmdir(work)
        except FileNotFoundError:
            pass
        except OSError:
            remove_tree(work)
        if os.listdir(top):
            remove_tree(top, keep=True)
        os.mkdir(work, 0o700)
        os.chmod(top, 0o555)
    os.utime(top, (0, 0))
    os.utime(work, (0, 0))


def _untouched(top: str, work: str) -> bool:
    """Whether both directories still are as `make_fresh` left them: whatever is made, removed or listed in one moves
    one of its times away from zero, to where no job can set it back."""
    try:
        found = os.lstat(top), os.lstat(work)
    except OSError:
        return False
    modes = [stat.S_IFDIR | 0o555, stat.S_IFDIR | 0o700]
    return [one.st_mode for one in found] == modes and not any(one.st_atime_ns or one.st_mtime_ns for one in found)


def copy_in_memory(path: str) -> int | None:
    """Copies a regular file to memory and returns a descriptor on the copy; None where there is none."""
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
