"""Sets resource limits of one child. They are the backstop: the slot's own clock is finer than RLIMIT_CPU's seconds."""

from __future__ import annotations

import resource
from collections.abc import Mapping

STACK_BYTES = 64 << 20
_FORBIDDEN = ("CORE", "MSGQUEUE", "RTPRIO", "NICE")
MOST_SIGNALS = 256
"""Timers and queued signals, which are memory of the kernel."""
SOCKET_BYTES = 212_992
"""What a socket holds, as the kernel makes it (`net.core.wmem_default`); jobs can't enlarge it."""


def _lower(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def apply_static() -> None:
    """Sets limits equal for every job: no core files, no message queues, no priority, few timers."""
    for name in _FORBIDDEN:
        _lower(getattr(resource, f"RLIMIT_{name}"), 0)
    _lower(resource.RLIMIT_SIGPENDING, MOST_SIGNALS)


def lock_no_memory() -> None:
    """Forbids locked memory; for after a slot has pinned its own pages."""
    _lower(resource.RLIMIT_MEMLOCK, 0)


def apply(limits: Mapping[str, float], *, base_bytes: int, address_space: bool, tasks: int) -> None:
    """Sets the limits of this job. `base_bytes` is what the process maps already; `address_space` chooses RLIMIT_AS
    over RLIMIT_DATA (runtimes that reserve address space need the latter) and keeps back what sockets can hold beside
    it, all descriptors being some; `tasks` caps processes and threads where the user id is the slot's own. Raises
    OSError or ValueError."""
    seconds = int(-(-limits["cpu_s"] // 1)) + 1  # rounded up
    memory = int(limits["memory_bytes"])
    sockets = min(int(limits["files"]) * SOCKET_BYTES, memory // 2) if address_space else 0
    for which, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS if address_space else resource.RLIMIT_DATA, base_bytes + memory - sockets),
        (resource.RLIMIT_STACK, min(STACK_BYTES, memory)),
        (resource.RLIMIT_FSIZE, int(max(limits["output_bytes"], limits["disk_bytes"])) + 1),
        (resource.RLIMIT_NOFILE, int(limits["files"])),
        (resource.RLIMIT_NPROC, tasks),
    ):
        try:
            resource.setrlimit(which, (value, value))
        except ValueError:  # above what this process was given
            _lower(which, value)
