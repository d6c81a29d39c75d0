"""Problem files: suffixes, ten faults at once, prompts that no model reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.sections.problems import FileProblems
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.stages.problems import files
from berry.pipeline.stages.problems.files import FileReader, read_problems


def row(i: int, **changes: Any) -> dict[str, Any]:
    return {"id": f"p{i}", "prompt": f"{i}?", "verifier": {"type": "math", "answer": "1"}, **changes}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def test_a_suffix_stands_after_every_question(tmp_path: Path):
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    path = write(tmp_path / "p.jsonl", [row(0), row(1, prompt=chat), row(2)])
    found = list(FileReader(FileProblems(path=str(path), limit=2, suffix=" Box it.")).problems())
    assert [p.messages[-1]["content"] for p in found] == ["0? Box it.", "q Box it."]
    assert found[1].messages[0] == {"role": "system", "content": "s"}


def test_up_to_ten_bad_rows_are_told_at_once(tmp_path: Path):
    rows = [row(i) if i % 2 else row(i, prompt="") for i in range(60)]
    with pytest.raises(ProblemFileError) as caught:
        read_problems(str(write(tmp_path / "p.jsonl", rows)))
    told = str(caught.value).splitlines()
    assert len(told) == files.MOST_FAULTS + 1
    assert told[-1] == "… and perhaps more"
    assert [line.split(":")[0].rsplit(" ", 1)[1] for line in told[:-1]] == [str(1 + 2 * i) for i in range(10)]


def test_few_bad_rows_are_told_with_a_line_that_is_no_json(tmp_path: Path):
    with pytest.raises(ProblemFileError) as caught:
        read_problems(str(write(tmp_path / "p.jsonl", [row(0, prompt=""), row(1), "{oops", row(2, prompt="")])))
    told = str(caught.value).splitlines()
    assert len(told) == 2
    assert "line 1" in told[0]
    assert "line 3: is not valid JSON" in told[1]


def test_a_prompt_that_no_model_reads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(files, "MOST_PROMPT_CHARS", 1_000)
    with pytest.raises(ProblemFileError, match="line 1: prompt has 1,001 characters, which no model reads"):
        read_problems(str(write(tmp_path / "p.jsonl", [row(0, prompt="x" * 1_001)])))
