"""`berry import` and `berry verify` as commands."""

from __future__ import annotations

import json
import re

import pyarrow.parquet as pq
import pytest
import typer
from rich.cells import cell_len
from typer.testing import CliRunner

from berry.pipeline.cli.import_problems import app as import_app
from berry.pipeline.cli.verify import verify
from berry.pipeline.errors import BerryError


@pytest.fixture
def berry():
    app = typer.Typer()
    app.command()(verify)
    app.add_typer(import_app, name="import")
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [{"question": f"{i}+1?", "final": str(i + 1)} for i in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_from_a_plain_file_to_verdicts(berry, questions, tmp_path) -> None:
    problems, responses, out = (tmp_path / n for n in ("p.jsonl", "r.jsonl", "o.parquet"))
    made = berry("import", "jsonl", questions, "-o", problems, "--map", "prompt=question,answer=final")
    assert (made.exit_code, "6 problems" in made.output) == (0, True)
    said = ["It is 1.", *(f"It is {i}." for i in range(1, 5)), "I can't tell."]
    responses.write_text(
        "".join(json.dumps({"problem_id": str(i), "response": text}) + "\n" for i, text in enumerate(said))
    )
    done = berry("verify", problems, responses, "-o", out, "--slots", "1")
    assert done.exit_code == 0, done.output
    assert [row["verdict"] for row in pq.read_table(out).to_pylist()] == ["pass", *["fail"] * 5]
    assert re.search(r"pass +wrong +no answer +unverifiable +pass rate", done.output)
    assert re.search(r"math +1 +4 +1 +0 +20\.0%", done.output), "no answer is not wrong"
    assert "wrong_answer" in done.output
    assert "6 rows" in done.output
    assert all(cell_len(line.rstrip()) <= 80 for line in done.output.splitlines() if " rows in " not in line)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("verify", "nowhere.jsonl", "r.jsonl", "-o", "o.parquet"), "nowhere.jsonl"),
        (("verify", "p.jsonl", "r.jsonl", "-o", "o.csv"), "parquet"),
        (("verify", "p.jsonl", "r.jsonl", "-o", "o.parquet", "--isolation", "some"), "isolation"),
        (("verify", "p.jsonl", "r.jsonl", "-o", "o.parquet", "--judge-url", "http://j/v1"), "--judge-model"),
        (("verify", "p.jsonl", "r.jsonl", "-o", "o.parquet", "--judge-url", "j", "--judge-model", "m"), "http(s)"),
        (("verify", "p.jsonl", "r.jsonl", "-o", "o.parquet", "--address", "a:1", "--judge-model", "m"), "--judge-url"),
        (("import", "jsonl", "q.jsonl", "-o", "p.jsonl", "--map", "promt=question"), "promt"),
        (("import", "jsonl", "q.jsonl", "-o", "p.jsonl", "--verifier", "{"), "JSON"),
        (("import", "gsm8k", "nowhere.jsonl", "-o", "p.jsonl"), "nowhere.jsonl"),
        (("import", "reasoning_gym", "countdwn", "-o", "p.jsonl"), "countdown"),
    ],
)
def test_a_mistake_is_answered_with_its_name(berry, tmp_path, monkeypatch, words, says) -> None:
    monkeypatch.chdir(tmp_path)
    failed = berry(*words)
    assert isinstance(failed.exception, BerryError)
    assert says in str(failed.exception)


def test_rows_that_are_left_out_are_counted(berry, tmp_path) -> None:
    path = tmp_path / "gsm.jsonl"
    rows = [{"question": "q", "answer": "#### 4"}, {"question": "q", "answer": "none"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, references = tmp_path / "p.jsonl", tmp_path / "r.jsonl"
    made = berry("import", "gsm8k", path, "-o", out, "--references", references)
    assert "left out 1" in made.output
    assert json.loads(references.read_text())["response"] == "#### 4"
    assert len(out.read_text().splitlines()) == 1
