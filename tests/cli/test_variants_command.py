"""`berry variants` as a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipeline.cli.variants import variants as command
from pipeline.config.problems import FileProblems
from pipeline.errors import ConfigError, InputError
from pipeline.stages.problems import survey


@pytest.fixture
def berry(tmp_path, monkeypatch) -> Any:
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(command)

    def call(config: str, *words: str) -> Any:
        Path("v.yaml").write_text("problems: [{type: arithmetic, count: 4}]\nengine: {type: synthetic}\n" + config)
        return CliRunner().invoke(app, ["v.yaml", *words])

    return call


def test_the_command_writes_both_files_and_a_table(berry) -> None:
    done = berry("variants: {kinds: [{type: reseed, count: 2}, {type: rephrase, attempts: 1}]}", "-o", "o.jsonl")
    assert done.exit_code == 0, done.output
    assert "SYNTHETIC" in done.output
    assert "4 originals, 8 variants" in done.output
    assert survey([FileProblems(path="o.jsonl")]).count == 12
    rows = [json.loads(line) for line in Path("o.refused.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"rephrase"}


@pytest.mark.parametrize(
    ("config", "words", "says"),
    [
        ("", ("-o", "o.jsonl"), "variants is missing"),
        ("variants: {kinds: [{type: reseed}]}", ("-o", "o.parquet"), "must end in .jsonl"),
        ("variants: {kinds: []}", ("-o", "o.jsonl"), "variants.kinds"),
        ("variants: {kinds: [{type: rephrased}]}", ("-o", "o.jsonl"), "did you mean rephrase"),
        ("variants: {kinds: [{type: numbers, programs: 2, min_programs: 3}]}", ("-o", "o.jsonl"), "above programs"),
        ("variants: {kinds: [{type: reseed}], screen: {fils: []}}", ("-o", "o.jsonl"), "did you mean files"),
        (
            "variants: {kinds: [{type: reseed}], screen: {files: [gone.jsonl]}}",
            ("-o", "o.jsonl"),
            "gone.jsonl",
        ),
    ],
)
def test_a_mistake_is_answered_with_its_name(berry, config, words, says) -> None:
    failed = berry(config, *words)
    assert isinstance(failed.exception, ConfigError | InputError), failed.exception
    assert says in str(failed.exception)
    assert not list(Path().glob("o.*"))
