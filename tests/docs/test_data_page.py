"""The lines of docs/data.md by which other tools read a run give what Berry's own reader gives."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.api.runs import Run
from berry.pipeline.stages.dataset.maintenance.compact import compact

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text()
BLOCKS = re.findall(r"^```(python|sql)\n(.*?)^```$", PAGE, re.S | re.M)
Texts = list[tuple[str, str]]
ROWS: dict[str, Callable[[Any], Iterable[tuple[str, str]]]] = {
    "duckdb": lambda found: ((row[0], row[1]) for row in found.fetchall()),
    "polars": lambda found: zip(found["problem_id"].to_list(), found["response"].to_list(), strict=True),
    "pandas": lambda found: zip(found["problem_id"], found["response"], strict=True),
    "datasets": lambda found: ((row["problem_id"], row["response"]) for row in found),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """A run in today's schema, of two files, and its kept rows."""
    place = tmp_path_factory.mktemp("data") / "run"
    shutil.copytree(ROOT / "tests" / "stored" / "run-0.2.0.dev0", place)
    run = Run(str(place))
    compact(run.directory)
    return str(place), list(run.kept())


def result_of(code: str) -> Any:
    """The value of the expression that ends the code."""
    *before, last = ast.parse(code).body
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(ast.Module(before, []), "docs/data.md", "exec"), names)
    return eval(compile(ast.Expression(last.value), "docs/data.md", "eval"), names)


@pytest.mark.parametrize("tool", ["duckdb", "polars", "pandas", pytest.param("datasets", marks=pytest.mark.slow)])
def test_the_line_of_each_tool_reads_what_was_kept(
    tool: str, kept: tuple[str, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(tool) is None:
        pytest.skip(f"{tool} is not installed")
    if tool == "datasets":
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    place, rows = kept
    [code] = [
        text for language, text in BLOCKS if (language == "python" and f"{tool}." in text) or f"from {tool}" in text
    ]
    found = ROWS[tool](result_of(code.replace("runs/demo", place)))
    assert sorted(found) == sorted((row["problem_id"], row["response"]) for row in rows)
    assert rows


def test_the_query_for_steps_cuts_as_the_run_did(kept: tuple[str, list[dict[str, Any]]]) -> None:
    import duckdb

    place, rows = kept
    [query] = [text for language, text in BLOCKS if language == "sql"]
    found = duckdb.sql(query.replace("runs/demo", place)).fetchall()
    assert sorted(steps for (steps,) in found) == sorted(row["steps"] for row in rows)
    assert any(len(row["steps"]) > 1 for row in rows)
