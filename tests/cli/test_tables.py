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
from berry.pipeline.cli.modes_table import modes_table
from berry.pipeline.cli.progress import LiveDisplay
from berry.pipeline.cli.prose import print_prose
from berry.pipeline.cli.sweep import settings_table
from berry.pipeline.planning.sweeps import Expected, Point
from berry.pipeline.report.modes import ModeLine
from berry.pipeline.report.sweep_page import SweepReport
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


def test_the_table_of_modes_fits_80_columns() -> None:
    numbers = (12_000, 11_480, 1_474_000, 723_000, 700_000, 451_000, 98_765_432)
    lines = [ModeLine(name, *numbers, 0.12, 812.0, {1: 0.44, 4: 0.57, 16: 0.61}) for name in ("thinking", "plain")]
    shown = drawn(modes_table(lines))
    for heading in ("mode", "problems", "solved", "trajectories", "passed", "kept", "tokens", "each", "pass@k"):
        assert heading in shown[0].split()
    assert "1,474,000" in shown[1]
    assert all(cell_len(line) <= 80 for line in shown)


def test_the_table_of_a_sweep_fits_80_columns() -> None:
    times = (0.0, 60.0, 120_000, 1_284.5, 98_765.0, 0.31, 1_250.0, 12.0, 80.0, 9.0, 0.87, 0.4, 1_849_680.0)
    points = [
        Point(f"cluster.ratio={ratio}", "", ratio, 0, ratio, int(ratio), *times, 1_234.56, False, "run", "{}", "{}")
        for ratio in (1.0, 16.0)
    ]
    told = Expected(1_300.0, 99_000.0, 0.25, 1_100.0, 1_850_000.0, 1_200.0, "sandbox slots")
    points = [replace(point, expected=told) for point in points]
    shown = drawn(settings_table(SweepReport("Sweep: demo", "cluster.ratio", points, [], [])))
    assert all(cell_len(line) <= 80 for line in shown)
    for cell in ("trajectories/s", "cluster.ratio=16.0", "1,284.5", "31% (25%)", "1,250 (1,100)", "1,234.56"):
        assert any(cell in line for line in shown)


def drawn(table: Table) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


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
