"""The garbage collector, set for processes that hold many trees at once: it looks rarely, and never at what was loaded.

Trees hold their nodes in cycles (parent and child), so collection can't be switched off; at its default settings it
walks through all open trees about every second and takes an eighth of a worker's time.
"""

from __future__ import annotations

import gc

YOUNG = 50_000  # objects made before the young ones are looked at
ROUNDS = (20, 20)  # looks at the young before one at the middle, and of those before one at all


def collect_rarely() -> None:
    """Call once everything long-lived is loaded. What is frozen stays for good, so a process is frozen once."""
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
    gc.set_threshold(YOUNG, *ROUNDS)
