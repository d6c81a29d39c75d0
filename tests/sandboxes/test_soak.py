"""A short soak: the long one is `python tests/benchmarks/sandbox_soak.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_stream_of_jobs_leaks_nothing():
    command = [sys.executable, "-P", str(ROOT / "tests" / "benchmarks" / "sandbox_soak.py"), "--jobs", "400"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sound" in done.stdout
