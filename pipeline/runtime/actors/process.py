"""Measures what this process and all it started have taken, and sets how many files it may open."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from berry.pipeline.errors import ResourceError

if TYPE_CHECKING:
    from berry.pipeline.rewards.serving.service import RewardModels
    from berry.pipeline.stages.leases.lease import Snapshot

FEWEST_FILES = 256  # that a process of a run must be allowed to open: Ray alone holds some sixty in each
MANY_FILES = 65_536  # that it may open where the host lets it
Home = tuple[str, int]
"""The Ray node that an actor is on, and the number of its process there."""
_TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01


def tree_cpu_s() -> float:
    """CPU seconds of this process, of its living descendants, and of those that have ended and were waited for, from
    /proc. Where there is no /proc, of this process alone."""
    total, to_read = 0.0, [os.getpid()]
    while to_read:
        pid = to_read.pop()
        try:
            with open(f"/proc/{pid}/stat", "rb") as stream:
                fields = stream.read().rpartition(b")")[2].split()
            total += sum(int(f) for f in fields[11:15]) * _TICK_S  # utime, stime, and both of waited-for children
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", "rb") as stream:
                    to_read.extend(int(child) for child in stream.read().split())
        except (OSError, IndexError, ValueError):  # it ended meanwhile, or there is no /proc
            continue
    return total or time.process_time()


def host_cpu_s() -> float:
    """CPU seconds of everything on this host since it started; 0 where there is no /proc."""
    try:
        with open("/proc/stat", "rb") as stream:
            user, nice, system, _idle, _waiting, irq, softirq = stream.readline().split()[1:8]
    except (OSError, ValueError):
        return 0.0
    return _TICK_S * sum(int(part) for part in (user, nice, system, irq, softirq))


def of_process(snapshot: Snapshot, models: RewardModels | None, *, whole_host: bool = False) -> Snapshot:
    """A worker's figures with those of its process: the CPU seconds it has taken so far, those of the whole host where
    the worker is all of the run that is on it (`whole_host`), and what reward models in it have read."""
    return replace(
        snapshot,
        cpu_s=tree_cpu_s(),
        own_cpu_s=time.process_time(),
        host_cpu_s=host_cpu_s() if whole_host else 0.0,
        scored_tokens={} if models is None else models.computed_tokens(),
    )


def allow_many_files() -> None:
    """Raises this process's limit on open files, which what it starts inherits, as far as it may. Raises ResourceError
    where that is too few: connections that can't be opened would be waited for without end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FEWEST_FILES:
        raise ResourceError(
            f"a process may open {hard} files on {os.uname().nodename} (ulimit -Hn), and a run needs {FEWEST_FILES}: "
            f"raise the limit there (ulimit -n {MANY_FILES}, or LimitNOFILE in what starts it)"
        )
    most = MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, MANY_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
