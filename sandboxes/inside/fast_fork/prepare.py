"""Makes a template cheap to fork: every trick that does so, behind one call.

    template: prepare_for_forking(tricks) ─► ForkAids ─► slot: pin, freeze ─► fork

Nothing here changes what a job sees. `PoolConfig.fast_fork` switches all of it; naming some of `FORK_TRICKS` there
leaves the others out, so that each can be measured (`tests/benchmarks/sandbox_fork_tricks.py`; what each earns stands
in docs/sandbox-security.md):

    pin_pages         pages that most jobs write are copied by the fork itself, in one go, not one fault at a time
    fill_heap_gaps    a job's own objects come to lie side by side, on fewer pages of its own
    huge_pages        the interpreter's code takes one entry of the page table for 512, which forks inherit
    join_mappings     a library's code and constants are one mapping of three: each is copied by the fork
    inherit_mappings  the rest of the interpreter's code is inherited too, not asked for again page by page
    warm_up           code that has run is specialised to what it met, which each job would write into pages of its own
    early_binding     so is the address of each function that a library calls
    plain_fork        the system call alone, without what the interpreter does around it for threads

That the collector is frozen before a fork is no trick but Python's own advice: it is always done.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Collection

from berry.sandboxes.inside.fast_fork import code_pages, fill_heap_gaps, pin_pages, trial_job
from berry.sandboxes.inside.fast_fork.written_pages import MemoryRanges, learn_written_pages
from berry.sandboxes.jail import syscalls

WARM_UP_JOBS = 20
"""Jobs that a template runs itself, after which the interpreter has specialised its code to them."""


class ForkAids:
    """Does a slot's part. `ranges` are stretches of memory that most jobs write."""

    def __init__(self, tricks: Collection[str], ranges: MemoryRanges) -> None:
        self._ranges = ranges
        self.fork: Callable[[], int] = syscalls.fork if "plain_fork" in tricks else os.fork

    def pin(self) -> None:
        """Pins what jobs write; before this process gives up locked memory."""
        pin_pages.pin(self._ranges)

    def freeze(self) -> None:
        """Keeps the collector from writing to the objects that exist now."""
        gc.freeze()


def prepare_for_forking(tricks: Collection[str], proc: int) -> ForkAids:
    """Applies the named tricks to this process, which has imported all that its forks need. `proc` is a descriptor on
    /proc. Raises OSError where that is closed."""
    if "huge_pages" in tricks:
        code_pages.enlarge(proc)
    if "join_mappings" in tricks:
        code_pages.join(code_pages.mapped(proc))
    if "inherit_mappings" in tricks:
        code_pages.inherit(code_pages.programs(proc))
    if "warm_up" in tricks:
        for _ in range(WARM_UP_JOBS):
            trial_job.run_small_job()
    gc.collect()
    gc.disable()  # children turn it on
    if "fill_heap_gaps" in tricks:
        fill_heap_gaps.fill()
    gc.freeze()
    ranges: MemoryRanges = ()
    if "pin_pages" in tricks:
        trials = trial_job.trial_jobs()
        ranges = learn_written_pages(proc, [trial.run for trial in trials])
        for trial in trials:
            trial.close()
    return ForkAids(tricks, ranges)
