"""How far a child came, as marks that outlive it and that its job can't take back.

    WAITS ─► BEGUN: confined, limited, with its job ─► LOADED: the job's source ran, calls follow

A mark is a resource limit that nothing obeys (RLIMIT_LOCKS, unused since Linux 2.4): a process may lower it and not
raise it, and its parent can read it until it waits for the process. That takes no descriptor and wakes nobody.
"""

from __future__ import annotations

import resource

WAITS, BEGUN, LOADED = 2, 1, 0
_LOCKS = 10


def reach(stage: int) -> None:
    """Marks that this process has come so far."""
    _, limit = resource.getrlimit(_LOCKS)
    stage = stage if limit == resource.RLIM_INFINITY else min(stage, limit)
    resource.setrlimit(_LOCKS, (stage, stage))


def reached(pid: int) -> int:
    """How far a child came that was not yet waited for."""
    _, limit = resource.prlimit(pid, _LOCKS)
    return WAITS if limit == resource.RLIM_INFINITY else min(limit, WAITS)
