"""What an engine spawns loads nothing of the process that spawned it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHILD = "import gc, sys; print(gc.get_threshold()[0], hasattr(sys, 'main_was_here'), flush=True)"
MAIN = f"""
import multiprocessing, sys
sys.main_was_here = True
from berry.pipeline.engines.vllm.children import children_of_their_own

if __name__ == "__main__":
    spawned = multiprocessing.get_context("spawn").Process
    with children_of_their_own():
        light = spawned(target=exec, args=({CHILD!r},))
        light.start()
        light.join()
    usual = spawned(target=exec, args=({CHILD!r},))
    usual.start()
    usual.join()
"""


def test_a_child_imports_no_main_module_and_collects_rarely(tmp_path: Path) -> None:
    main = tmp_path / "main.py"
    main.write_text(MAIN)
    said = subprocess.run([sys.executable, str(main)], capture_output=True, text=True, check=True).stdout
    assert said.split("\n") == ["200000 False", "700 True", ""]
