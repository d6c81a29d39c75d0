"""The command line's surface: help that teaches, quick starts, one message for an expected error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from berry import __version__
from berry.pipeline.cli import app, help_text

LIGHT = {
    "annotated_doc",
    "attr",
    "markdown_it",
    "mdurl",
    "msgspec",
    "pygments",
    "rich",
    "shellingham",
    "typer",
    "typing_extensions",
}
"""What drawing the help takes. Seconds are for tests/benchmarks/startup.py to tell: they are the machine's."""


def berry(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "berry", *words], capture_output=True, text=True, check=False, cwd=cwd)


def test_help_imports_nothing_but_what_draws_it() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['berry', '--help']\n"
        "from berry.pipeline.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    packages = {name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        f"    others = packages - {LIGHT | {'berry', '__main__', 'click'}}\n"
        "    ours = ('__editable__', '_distutils_hack', 'sitecustomize')  # as pip and machines have it\n"
        "    installed = [p for p in others if not p.startswith(ours)]\n"
        "    print('besides:', *sorted(installed), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "berry run" in done.stdout
    assert done.stderr == "besides:\n"


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
