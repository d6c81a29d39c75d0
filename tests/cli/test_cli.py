"""The command line's surface: help that teaches, quick starts, one message for an expected error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "ray",
    "torch",
    "vllm",
    "transformers",
    "pyarrow",
    "duckdb",
    "sympy",
    "reasoning_gym",
    "matplotlib",
    "pydantic",
)


def berry(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "berry", *words], capture_output=True, text=True, check=False, cwd=cwd)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from berry.pipeline.cli import app\n"
        f"loaded = [m for m in {HEAVY} if m in sys.modules]\n"
        "sys.exit(', '.join(loaded) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"berry --help would import {done.stderr}"


@pytest.mark.parametrize("command", ["run", "inspect", "show", "plan", "verify", "import", "check", "status"])
def test_every_command_explains_itself(command: str) -> None:
    done = berry(command, "--help")
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
    assert len(done.stdout.split()) > 60


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["run", "none.yaml"], "none.yaml: can't be read"),
        (["inspect", "nowhere"], "holds no run"),
        (["show", "nowhere", "p"], "holds no run"),
    ],
)
def test_an_expected_error_is_one_message_and_no_traceback(words: list[str], wanted: str, tmp_path: Path) -> None:
    done = berry(*words, cwd=tmp_path)
    assert done.returncode in (2, 3)
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("berry: ")
