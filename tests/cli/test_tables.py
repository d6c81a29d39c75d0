"""Tables of commands fit 80 columns with their headings whole, and a command that takes long says what it is at."""

from __future__ import annotations

import io
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from berry.pipeline.cli import app, progress
from berry.pipeline.cli.progress import LiveDisplay
from berry.pipeline.cli.prose import print_prose
from berry.pipeline.runtime.display import View

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "tests" / "stored"
TODAY, EARLIER = str(STORED / "run-0.2.0.dev0"), str(STORED / "run-0.1.0")  # the second has two rounds
ROW = re.compile(r"[│┃├└━]|\S {2,}\S.* {2,}\S")  # has cells: of a box, or three with gaps
COMMANDS = {
    "inspect": (["inspect", TODAY], "problem        pass  wrong  kept  tokens"),
    "inspect of rounds": (["inspect", EARLIER], "in the loop"),
    "inspect --sql": (["inspect", TODAY, "--sql", "select problem_id, n_tokens, kept from trajectories"], "n_tokens"),
    "inspect --sql of all columns": (["inspect", TODAY, "--sql", "select * from nodes limit 2"], "token_ids"),
    "show": (["show", TODAY, "synthetic-5-4"], "4/4 passed"),
    "status": (["status", TODAY], "trajectories"),
    "check": (["check", TODAY], ""),
    "plan": (["plan", str(ROOT / "configs" / "tiny.yaml"), "--cluster", "hgx-h100", "--cluster", "local"], "hgx-h100"),
    "eval": (["eval", TODAY], "right answers in %"),
    "sandbox probe": (["sandbox", "probe"], "leaves open"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_tables_fit_80_columns(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, heading = COMMANDS[name]
    monkeypatch.setenv("COLUMNS", "80")
    if name == "eval":  # which writes beside the run
        shutil.copytree(TODAY, tmp_path / "run")
        words = ["eval", str(tmp_path / "run")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (done.output, done.exception)
    assert heading in done.output
    too_wide = [line for line in done.output.splitlines() if ROW.search(line) and cell_len(line.rstrip()) > 80]
    assert too_wide == []


def test_nodes_without_a_role_are_the_model_s_own() -> None:
    """Files before schema version 7 name none."""
    tree = CliRunner().invoke(app, ["show", TODAY, "synthetic-5-4"], env={"COLUMNS": "80"}).output
    assert re.match(r"synthetic-5-4  4/4 passed\n├── 1\.00 Step 1", tree)
    assert "None" not in tree
    kept = re.search(r"kept (\w+)", tree)
    assert kept is not None
    steps = CliRunner().invoke(app, ["show", TODAY, "synthetic-5-4", "--trajectory", kept[1]]).output
    assert "given" not in steps
    assert re.search(r"^ +1 \d\.\d\d Step 1", steps, re.M)


def test_a_query_of_many_columns_is_a_line_a_value() -> None:
    done = CliRunner().invoke(app, ["inspect", TODAY, "--sql", "select * from kept limit 2"], env={"COLUMNS": "80"})
    lines = done.output.splitlines()
    assert sum(line.strip().startswith("trajectory_id ") for line in lines) == 2
    assert all(cell_len(line.rstrip()) <= 80 for line in lines)


@pytest.mark.parametrize("terminal", [True, False])
def test_sentences_break_between_words_on_a_terminal_alone(terminal: bool) -> None:
    told = "screened  nothing was held against evaluation sets (screening.files in the configuration names [such] sets)"
    out = io.StringIO()
    print_prose(Console(file=out, width=80, force_terminal=terminal, color_system=None), told)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert " ".join(lines) == told
    assert len(lines) == (2 if terminal else 1)


def test_the_live_view_keeps_to_one_block_of_80_columns() -> None:
    out = io.StringIO()
    display = LiveDisplay(Console(file=out, width=80, height=24, force_terminal=True, color_system=None))
    with display.live:
        display.phase("loading [weights]")
        display.note("a note of [/brackets] stays")
        view = View(75.0, 120, 3000, 11_744, 7_163, 12_000, 7_502, 19_558.0, 0.67, 256, 41, 8, 95.0, 3, 120, 2, 1, 12.0)
        display.update(view)
        display.live.refresh()
        first = display.live.get_renderable()
        display.update(replace(view, problems=2999, trajectories=11_999_744, kept=11_163_000, eta_s=None))
        display.live.refresh()
        then = display.live.get_renderable()
    assert isinstance(first, Table)
    assert isinstance(then, Table)
    assert len(first.rows) == len(then.rows)
    shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split(r"[\r\n]+", out.getvalue())]
    assert any("a note of [/brackets] stays" in line for line in shown)
    assert any("11,999,744 committed" in line for line in shown)
    assert any("━" in line for line in shown)
    assert max(cell_len(line.rstrip()) for line in shown) <= 80


def test_what_takes_long_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "SAID_AFTER_S", 0.01)
    with progress.working("reading") as now_at:
        now_at("counting")
        deadline = time.monotonic() + 30
        while not (told := capsys.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert told in ("reading …\n", "counting …\n")
    monkeypatch.setattr(progress, "SAID_AFTER_S", 60)
    with progress.working("reading"):
        pass
    assert capsys.readouterr().err == ""
