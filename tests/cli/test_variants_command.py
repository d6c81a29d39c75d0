"""`berry variants` as a command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from berry.pipeline.cli.variants import variants as command
from berry.pipeline.config.sections.problems import FileProblems
from berry.pipeline.errors import ConfigError, InputError
from berry.pipeline.stages.problems.files import read_problems
from berry.pipeline.stages.problems.sources import survey


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
    assert survey([FileProblems(path="o.jsonl", limit=None)]).count == 12
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


@pytest.mark.slow
@pytest.mark.engine
def test_a_real_model_measures_what_was_drawn_anew(tmp_path) -> None:
    """In a process of its own: the engine sets the process's environment."""
    (tmp_path / "v.yaml").write_text(
        "problems: [{type: arithmetic, count: 12, seed: 11}]\n"
        "engine: {type: vllm, model: tiny-arithmetic, dtype: float32, max_model_len: 128, max_num_seqs: 64,\n"
        "  kv_cache_gib: 0.25, threads: 1, reproducible: true}\n"
        "rollout: {sampling: {max_tokens: 64}}\n"
        "variants: {kinds: [{type: reseed, count: 2, pass_rate: [0.2, 1.0]}], samples: 8}\n"
    )
    command = [sys.executable, "-m", "berry", "variants", "v.yaml", "-o", "o.jsonl"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    found = read_problems(str(tmp_path / "o.jsonl"))
    kept = [p.meta["variant"] for p in found if p.variant_of is not None]
    refused = [json.loads(line) for line in (tmp_path / "o.refused.jsonl").read_text().splitlines()]
    assert len(kept) + len(refused) == 24
    assert len(kept) >= 4
    assert all(story["check"]["pass_rate"] >= 0.2 and story["synthetic"] is False for story in kept)
    assert {row["reason"] for row in refused} <= {"pass_rate", "duplicate"}
    assert all(row["check"]["pass_rate"] < 0.2 for row in refused if row["reason"] == "pass_rate")
    assert "SYNTHETIC" not in done.stdout
