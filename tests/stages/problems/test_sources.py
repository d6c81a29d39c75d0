"""Problems are read, or refused with file, line, field and remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from berry.pipeline.config.sections.problems import (
    ArithmeticProblems,
    FileProblems,
    ReasoningGymProblems,
    SyntheticProblems,
)
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.stages.problems.files import read_problems
from berry.pipeline.stages.problems.sources import iter_problems, survey

GOOD: dict[str, Any] = {"id": "p1", "prompt": "What is 6*7?", "verifier": {"type": "math", "answer": "42"}}


def write(tmp_path: Path, *rows: object) -> str:
    path = tmp_path / "p.jsonl"
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return str(path)


def refused(path: str) -> str:
    with pytest.raises(ProblemFileError) as caught:
        survey([FileProblems(path=path)])
    return str(caught.value)


def test_every_kind_of_the_design_is_read(tmp_path: Path) -> None:
    kinds = [
        {"type": "math", "answer": "42"},
        {
            "type": "python_function",
            "entry_point": "f",
            "tests": "def check(candidate):\n    assert candidate(1) == 2\n",
        },
        {"type": "python_function", "entry_point": "f", "cases": [{"args": [1], "expected": 2}]},
        {"type": "stdio", "language": "python", "cases": [{"stdin": "1\n", "stdout": "2\n"}]},
        {"type": "program_tests", "language": "cpp", "tests": "int main() { return 0; }"},
        {"type": "expression", "numbers": [1, 2, 3], "target": 6},
        {"type": "formal", "system": "coq", "statement": "Theorem t : 1 + 1 = 2."},
        {"type": "majority"},
    ]
    path = write(tmp_path, *({**GOOD, "id": f"p{i}", "verifier": kind} for i, kind in enumerate(kinds)))
    assert [p.verifier.type for p in read_problems(path)] == [kind["type"] for kind in kinds]


def test_blank_lines_are_no_problems_and_chat_messages_are_prompts(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
    (first, second) = read_problems(write(tmp_path, GOOD, "", {**GOOD, "id": "p2", "prompt": chat}))
    assert first.messages == [{"role": "user", "content": "What is 6*7?"}]
    assert second.messages == chat


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ("{broken", "line 2: is not valid JSON"),
        ("[1, 2]", "line 2: must be an object"),
        ({"id": "p2", "prompt": "?"}, "line 2: verifier is missing"),
        ({**GOOD, "id": "p2", "prompt": ""}, "line 2: prompt"),
        ({**GOOD, "id": "p2", "answer": "42"}, "line 2: answer is not a known key"),
        ({**GOOD, "id": "p2", "verifier": {"type": "maths", "answer": "1"}}, "did you mean math?"),
        ({**GOOD, "id": "p2", "verifier": {"answer": "1"}}, "verifier.type is missing"),
        ({**GOOD, "id": "p2", "verifier": {"type": "math"}}, "line 2: verifier.answer is missing"),
        (GOOD, "'p1' occurs twice"),
    ],
    ids=["json", "list", "no verifier", "empty prompt", "unknown key", "unknown kind", "no kind", "no answer", "twice"],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, row: object, wanted: str) -> None:
    assert wanted in refused(write(tmp_path, GOOD, row))


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(str(tmp_path / "none.jsonl"))
    (tmp_path / "bad.jsonl").write_bytes(b"\xff\xfe\x00{}\n")
    assert "line 1" in refused(str(tmp_path / "bad.jsonl"))
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    assert "is not a Parquet file" in refused(str(tmp_path / "bad.parquet"))


def test_a_source_without_problems_is_refused(tmp_path: Path) -> None:
    assert "hold no problem" in refused(write(tmp_path, "", ""))


@pytest.mark.parametrize("as_json", [True, False], ids=["json column", "struct column"])
def test_parquet_holds_the_same_problems(tmp_path: Path, as_json: bool) -> None:
    rows = [GOOD, {**GOOD, "id": "p2", "verifier": {"type": "expression", "numbers": [1, 2, 3], "target": 6}}]
    stored = [{**r, "verifier": json.dumps(r["verifier"]) if as_json else r["verifier"]} for r in rows]
    if not as_json:
        stored = [stored[0], {**GOOD, "id": "p2", "source": "x"}]
        rows = stored
    path = tmp_path / "p.parquet"
    pq.write_table(pa.Table.from_pylist(stored), path)
    got = read_problems(str(path))
    assert [p.id for p in got] == ["p1", "p2"]
    assert [p.verifier.type for p in got] == [r["verifier"]["type"] for r in rows]


def test_a_limit_takes_the_first(tmp_path: Path) -> None:
    path = write(tmp_path, *({**GOOD, "id": f"p{i}"} for i in range(5)))
    assert [p.id for p in iter_problems([FileProblems(path=path, limit=2)])] == ["p0", "p1"]


def test_a_survey_counts_kinds_and_its_digest_follows_the_ids() -> None:
    one = survey([SyntheticProblems(count=5, seed=1)])
    assert (one.count, one.by_verifier) == (5, {"math": 5})
    assert survey([SyntheticProblems(count=5, seed=1)]).digest == one.digest
    assert survey([SyntheticProblems(count=5, seed=2)]).digest != one.digest


def test_reasoning_gym_draws_the_same_tasks_for_the_same_seed() -> None:
    source = ReasoningGymProblems(dataset="chain_sum", count=3, seed=4, suffix=" Answer?")
    first, second = list(iter_problems([source])), list(iter_problems([source]))
    assert first == second
    assert len({p.id for p in first}) == 3
    assert all(p.verifier.type == "math" for p in first)
    assert all(str(p.prompt).endswith(" Answer?") for p in first)


def test_reasoning_gym_refuses_what_it_does_not_have() -> None:
    with pytest.raises(ProblemFileError, match="chain_sum"):
        survey([ReasoningGymProblems(dataset="chain_sums", count=1)])
    with pytest.raises(ProblemFileError, match="refuses its params"):
        survey([ReasoningGymProblems(dataset="chain_sum", count=1, params={"min_terms": 9, "max_terms": 2})])


def test_sums_have_as_many_numbers_as_asked_for() -> None:
    drawn = list(iter_problems([ArithmeticProblems(count=30, operands=(5, 6))]))
    assert {problem.meta["operands"] for problem in drawn} == {5, 6}
    with pytest.raises(ValueError, match=r"operands must be \[fewest, most\] with 1 <= fewest <= most, got \[3, 2\]"):
        ArithmeticProblems(count=1, operands=(3, 2))
