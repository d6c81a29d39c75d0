"""The collector looks rarely, but it looks."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc
from berry.pipeline.garbage import YOUNG_OBJECTS, freeze_what_is_loaded

freeze_what_is_loaded()
frozen = gc.get_freeze_count()
kept = [[] for _ in range(1000)]
freeze_what_is_loaded()
assert frozen > 1000 and gc.get_freeze_count() == frozen, "frozen twice"
assert gc.isenabled() and gc.get_threshold()[0] == YOUNG_OBJECTS
"""


def test_a_process_is_frozen_once_and_still_collects() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
