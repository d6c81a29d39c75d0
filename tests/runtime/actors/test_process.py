"""The collector looks rarely, but it looks."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc
from berry.pipeline.runtime.actors.process import YOUNG_OBJECTS, collect_garbage_rarely

collect_garbage_rarely()
frozen = gc.get_freeze_count()
kept = [[] for _ in range(1000)]
collect_garbage_rarely()
assert frozen > 1000 and gc.get_freeze_count() == frozen, "frozen twice"
assert gc.isenabled() and gc.get_threshold()[0] == YOUNG_OBJECTS
"""


def test_a_process_is_frozen_once_and_still_collects() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
