"""The documentation tells what is there: links lead somewhere, parts that it adds work, messages are the code's."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import berry
from berry.pipeline.config.sections.rollout.policies import POLICIES
from berry.pipeline.config.sections.rollout.pruning import PRUNING_RULES
from berry.verifiers.specs import extensions

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.S | re.M)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MOST_README_LINES = 120


def blocks(page: Path, *languages: str) -> Iterator[str]:
    for language, text in FENCE.findall(page.read_text()):
        if language in languages:
            yield text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path):
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"


def test_the_examples_of_contributing_make_a_run(
    tmp_path: Path, make_run: Callable[[Path, dict[str, Any]], Path], monkeypatch: pytest.MonkeyPatch
):
    for registry in (POLICIES, PRUNING_RULES):
        monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
        monkeypatch.setattr(registry, "_added", set(registry._added))
    monkeypatch.setattr(extensions, "_registered", dict(extensions._registered))
    monkeypatch.setitem(sys.modules, "examples", module := ModuleType("examples"))
    for text in blocks(ROOT / "CONTRIBUTING.md", "python"):
        exec(text, module.__dict__)
    ends = {"type": "ends_with", "word": "zebra"}
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "p", "prompt": "Say zebra.", "verifier": ends}))
    place = make_run(
        tmp_path,
        {
            "problems": [{"type": "file", "path": "p.jsonl"}, {"type": "synthetic", "count": 3}],
            "engine": {"type": "synthetic"},
            "rollout": {"policy": {"type": "pairs", "pairs": 3}},
            "pruning": [{"type": "fewest_tokens"}],
        },
    )
    rows = list(berry.Run(str(place)).trajectories())
    assert len(rows) == 4 * 6
    assert {row["verdict"] for row in rows if row["problem_id"] == "p"} == {"fail"}
    command = typer.Typer()
    command.command()(module.count)
    assert CliRunner().invoke(command, [str(place)]).output == "4 kept\n"


def test_messages_of_the_troubleshooting_page_are_the_code_s():
    code = "\n".join(path.read_text() for path in (ROOT / "pipeline").rglob("*.py"))
    joined = re.sub(r'"\s*\n\s*f?"', "", code)  # texts that go over several lines
    table = (ROOT / "docs" / "troubleshooting.md").read_text().split("| what you see |")[0]
    messages = re.findall(r"^\| `([^`]+)` \|", table, re.M)
    assert len(messages) > 5
    for message in messages:
        assert message in joined, message


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= MOST_README_LINES


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if page.name not in text]
    assert missing == []


def test_every_public_name_is_in_the_reference():
    page = (ROOT / "docs" / "api.md").read_text().splitlines()
    homes = {name: f"::: {home}.{name}" for name, home in berry._HOMES.items()}
    assert homes.keys() == set(berry.__all__) - {"__version__"}
    assert [name for name, line in homes.items() if line not in page] == []


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path):
    if importlib.util.find_spec("material") is None or importlib.util.find_spec("mkdocstrings") is None:
        pytest.skip("mkdocs-material or mkdocstrings is missing (pip install '.[dev]')")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "quickstart" / "index.html").is_file()
