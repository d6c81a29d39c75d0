"""Records how far a child came, in a form that outlives it and that its job can't reset.

    WAITING ─► BEGUN: confined, limited, with its job ─► LOADED: the job's source ran, calls follow

The record is a resource limit that nothing obeys (RLIMIT_LOCKS, unused since Linux 2.4): a process may lower it and not
raise it, and its parent can read it until it waits for the process. That takes no descriptor and wakes nobody.
"""

from __future__ import annotations

import resource

WAITING, BEGUN, LOADED = 2, 1, 0
_RLIMIT_LOCKS = 10


def reach(stage: int) -> None:
    """Records that this process has reached a stage."""
    _, limit = resource.getrlimit(_RLIMIT_LOCKS)
    stage = stage if limit == resource.RLIM_INFINITY else min(stage, limit)
    resource.setrlimit(_RLIMIT_LOCKS, (stage, stage))


def reached(pid: int) -> int:
    """Reads the stage of a child that was not yet waited for."""
    _, limit = resource.prlimit(pid, _RLIMIT_LOCKS)
    return WAITING if limit == resource.RLIM_INFINITY else min(limit, WAITING)
