"""Every command of docs/exports.md runs, and the tables of the page name the columns that are written."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from berry.pipeline.cli import app
from berry.pipeline.stages.export.registry import export_format, formats
from berry.pipeline.storage.run.directory import RunDir
from tests.stages.export.conftest import ENDS
from tests.stages.export.hub_server import HubServer

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "exports.md").read_text()
COMMANDS = re.findall(r"^berry (export RUN .*)$", PAGE, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_writes_rows(
    written_run: Callable[..., RunDir], hub: HubServer, tmp_path: Path, command: str
) -> None:
    run = written_run("ends", engine={"chat_template": ENDS})
    places = {"RUN": run.location.url, "DIR": str(tmp_path / "out"), "OWNER/NAME": "me/sums"}
    done = CliRunner().invoke(app, [places.get(word, word) for word in shlex.split(command)])
    assert done.exit_code == 0, (done.output, done.exception)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert sum(manifest["rows"].values()) > 0
    assert ("me/sums" in hub.files) == ("--push" in command)


def test_the_page_has_a_command_for_each_format_and_trainer() -> None:
    for name in formats():
        for number, trainer in enumerate(export_format(name).layouts):
            wanted = f"export RUN --format {name} "
            found = [c for c in COMMANDS if c.startswith(wanted) and (number == 0 or f"--for {trainer} " in c)]
            assert found, (name, trainer)


@pytest.mark.parametrize("name", ["sft", "dpo", "pairs", "orm", "prm", "rl"])
def test_the_columns_that_the_page_names_are_written(name: str) -> None:
    [row] = [line for line in PAGE.splitlines() if re.match(rf"\| .*`{name}`.* \| .*_ids`", line)]
    tokens = export_format(name).tokens
    assert tokens is not None
    assert set(re.findall(r"`(\w+)`", row.split("|")[2])) <= set(tokens.schema.names)
