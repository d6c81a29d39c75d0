"""The command line's surface: help that teaches, quick starts, one message for an expected error."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from berry import __version__
from berry.pipeline.cli import app, help_text

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


def test_help_takes_less_than_half_a_second_of_cpu() -> None:
    """Of CPU, since what other programs do on the machine is no fault of the command; the best of three."""
    spent: list[float] = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert berry("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 0.5


def test_the_version_is_the_packages() -> None:
    done = berry("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"berry {__version__}")


def test_help_shows_a_first_run_and_every_command_under_a_heading() -> None:
    done = berry("--help")
    for word in ("berry run configs/demo.yaml", "Make data", "Look at it", "Use it", "Plan", "--install-completion"):
        assert word in done.stdout
    assert all((command.rich_help_panel or "no heading") in done.stdout for command in app.registered_commands)


def test_paragraphs_are_one_line_each_and_examples_stay() -> None:
    text = """First line
    goes on.

    Second
    one.

      berry run x
    """
    assert help_text(text) == "First line goes on.\n\nSecond one.\n\n  berry run x"


def test_completion_installs_and_completes_commands_and_clusters(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "berry", "--install-completion", "bash"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "_BERRY_COMPLETE" in (tmp_path / ".bash_completions" / "berry.sh").read_text()
    for words, at, wanted in (("berry in", "1", "inspect"), ("berry plan x --cluster hgx", "4", "hgx-h100")):
        asked = {"_BERRY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": at}
        done = subprocess.run(
            [sys.executable, "-m", "berry"], capture_output=True, text=True, check=False, env={**environment, **asked}
        )
        assert done.stdout.split() == [wanted]


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
