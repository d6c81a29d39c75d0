"""CPU time of this process and everything it started, from /proc: what a run really takes of its cores."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from berry.pipeline.stages.leases.lease import Snapshot

_TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01


def tree_cpu_s() -> float:
    """CPU seconds of this process, of its living descendants, and of those that have ended and were waited for. Where
    there is no /proc, of this process alone."""
    total, waiting = 0.0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            with open(f"/proc/{pid}/stat", "rb") as stream:
                fields = stream.read().rpartition(b")")[2].split()
            total += sum(int(f) for f in fields[11:15]) * _TICK_S  # utime, stime, and both of waited-for children
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/children", "rb") as stream:
                    waiting.extend(int(child) for child in stream.read().split())
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


def with_cpu(snapshot: Snapshot, *, whole_host: bool = False) -> Snapshot:
    """A worker's figures with what its process has taken of the cores so far; `whole_host` where it is all of the run
    that is on this host."""
    host = host_cpu_s() if whole_host else 0.0
    return replace(snapshot, cpu_s=tree_cpu_s(), own_cpu_s=time.process_time(), host_cpu_s=host)


YOUNG = 50_000  # objects made before the young ones are looked at


ROUNDS = (20, 20)  # looks at the young before one at the middle, and of those before one at all


def collect_rarely() -> None:
    """Call once everything long-lived is loaded. What is frozen stays for good, so a process is frozen once."""
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
    gc.set_threshold(YOUNG, *ROUNDS)
