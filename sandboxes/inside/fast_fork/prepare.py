"""Makes a template cheap to fork: every trick that does so, behind one call.

    template: prepare_for_forking(tricks) ─► ForkAids ─► slot: ForkAids.settle ─► child: ForkAids.before_job

Nothing here changes what a job sees. `PoolConfig.fast_fork` switches all of it; naming some of `FORK_TRICKS` there
leaves the others out, so that each can be measured alone (`tests/benchmarks/sandbox_fork_tricks.py`).
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable, Collection

from berry.sandboxes.inside.fast_fork import code_pages, fill_heap_gaps, pin_pages, warm_up
from berry.sandboxes.inside.fast_fork.prefault import Prefault, learn_written_pages
from berry.sandboxes.jail import syscalls

WARM_UP_JOBS = 20
"""Jobs that a template runs itself, after which the interpreter has specialised its code to them."""


class ForkAids:
    """What slots and children of a prepared template do on their side."""

    def __init__(self, tricks: Collection[str], prefault: Prefault) -> None:
        self._pins = "pin_pages" in tricks
        self._prefaults = "prefault" in tricks
        self._freezes = "freeze" in tricks
        self.prefault = prefault
        self.fork: Callable[[], int] = syscalls.fork if "plain_fork" in tricks else os.fork

    def settle(self, kind: str) -> None:
        """Prepares a slot for jobs of a kind, before its children."""
        if kind == "python" and self._pins and pin_pages.pin(self.prefault.ranges):
            self._prefaults = False

    def freeze(self) -> None:
        """Keeps the collector from writing to the objects that exist now."""
        if self._freezes:
            gc.freeze()

    def before_job(self, kind: str) -> None:
        """Prepares a child, as its first act."""
        if kind == "python" and self._prefaults:
            self.prefault.run()


def prepare_for_forking(tricks: Collection[str], proc: int) -> ForkAids:
    """Applies the named tricks to this process, which has imported all that its forks need. `proc` is a descriptor on
    /proc. Raises OSError where the process's own pages can't be restored."""
    if "huge_pages" in tricks:
        code_pages.enlarge(proc)
    if "join_mappings" in tricks:
        code_pages.join(code_pages.mapped(proc))
    if "inherit_mappings" in tricks:
        code_pages.inherit(code_pages.programs(proc))
    if "warm_up" in tricks:
        for _ in range(WARM_UP_JOBS):
            warm_up.run_small_job()
    gc.collect()
    gc.disable()  # children turn it on
    if "fill_heap_gaps" in tricks:
        fill_heap_gaps.fill()
    if "freeze" in tricks:
        gc.freeze()
    if "trim_heap" in tricks:
        ctypes.CDLL(None).malloc_trim(0)  # what importing left free would be copied with every fork
    learnt = Prefault((), "none")
    if "prefault" in tricks or "pin_pages" in tricks:
        trials = warm_up.trial_jobs()
        learnt = learn_written_pages(proc, [trial.run for trial in trials])
        for trial in trials:
            trial.close()
    return ForkAids(tricks, learnt)
