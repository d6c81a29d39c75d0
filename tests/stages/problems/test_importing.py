"""Problems out of data sets' own rows."""

from __future__ import annotations

import gzip
import json

import pytest

from berry.pipeline.errors import ProblemFileError
from berry.pipeline.stages.problems.importing import IMPORTERS, Imported, Unusable, called, convert, mapped, read_rows
from berry.verifiers.registry import fault as spec_fault

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'import math\n\ndef helper(x):\n    return x\n\ndef f(x):\n    """Twice x."""\n',
    "entry_point": "f",
    "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    "canonical_solution": "    return 2 * helper(x)\n",
}
ROWS = {
    "gsm8k": {"question": "How many?", "answer": "48/2 = <<48/2=24>>24\n#### 1,024"},
    "math": {"problem": "Solve.", "solution": "So \\boxed{\\frac12}.", "level": "Level 1", "type": "Algebra"},
    "humaneval": HUMANEVAL,
    "mbpp": {
        "task_id": 11,
        "text": "Remove.",
        "code": "def rem(s):\n    return s",
        "test_list": ['assert set(rem("a")) == {"a"}'],
    },
    "code_contests": {
        "id": 0,
        "content": "Add.",
        "test": json.dumps([{"input": {"stdin": "1"}, "output": {"stdout": "1"}}]),
    },
    "multipl_e": {
        "name": "m_3",
        "language": "cpp",
        "prompt": "#include<assert.h>\nbool f(long n) {\n",
        "tests": "}\nint main() {\n    assert(f(1));\n}\n",
    },
}


@pytest.mark.parametrize("name", sorted(IMPORTERS))
def test_a_row_becomes_a_problem_that_can_be_checked(name) -> None:
    imported = IMPORTERS[name](ROWS[name], "7")
    assert spec_fault(imported.problem.verifier) is None
    assert imported.problem.source == name
    assert imported.problem.id


def test_what_each_takes_from_its_row() -> None:
    gsm = IMPORTERS["gsm8k"](ROWS["gsm8k"], "0")
    assert gsm.problem.verifier.answer == "1024"  # type: ignore[union-attr]
    assert gsm.reference == "48/2 = 24\n#### 1,024"
    assert IMPORTERS["math"](ROWS["math"], "0").problem.verifier.answer == "\\frac12"  # type: ignore[union-attr]
    human = IMPORTERS["humaneval"](HUMANEVAL, "0").problem.verifier
    assert human.prelude == "import math\n\ndef helper(x):\n    return x\n\n"  # type: ignore[union-attr]
    assert IMPORTERS["mbpp"](ROWS["mbpp"], "0").problem.verifier.entry_point == "rem"  # type: ignore[union-attr]
    cpp = IMPORTERS["multipl_e"](ROWS["multipl_e"], "0").problem.verifier
    assert cpp.tests.startswith("\nint main")  # type: ignore[union-attr]
    assert cpp.prelude == "#include<assert.h>"  # type: ignore[union-attr]


def test_the_function_that_most_tests_call_is_the_entry_point() -> None:
    assert called(["assert round(area(2), 1) == 1.0", "assert area(1) == helper(1)", "assert area(3) == 3"]) == "area"
    with pytest.raises(Unusable):
        called(["assert 1 == 1"])
    with pytest.raises(Unusable):
        called(["assert ("])


@pytest.mark.parametrize(
    ("name", "row", "says"),
    [
        ("gsm8k", {"question": "x", "answer": "no mark"}, "####"),
        ("math", {"problem": "x", "solution": "none"}, "boxed"),
        ("math", {"problem": "x", "answer": "\\frac{1}{"}, "don't match"),
        ("math", {"problem": "", "answer": "1"}, "empty"),
        ("code_contests", {"id": 1, "content": "x", "test": "[]"}, "no tests"),
        ("multipl_e", {**ROWS["multipl_e"], "language": "lua"}, "lua"),
    ],
)
def test_a_row_that_cannot_be_checked_is_left_out_with_its_reason(tmp_path, name, row, says) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(ROWS[name]) + "\n")
    (where, left_out), (_, taken) = convert(str(path), IMPORTERS[name])
    assert where.endswith("line 1")
    assert isinstance(left_out, str)
    assert says in left_out
    assert isinstance(taken, Imported)


def test_another_data_sets_file_is_refused_by_the_missing_field(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS["math"]))
    with pytest.raises(ProblemFileError, match="answer"):
        list(convert(str(path), IMPORTERS["gsm8k"]))


def test_files_come_in_four_forms(tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"a": 1}, {"a": 2}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "r.jsonl").write_text(lines)
    (tmp_path / "r.json").write_text(json.dumps(rows))
    with gzip.open(tmp_path / "r.jsonl.gz", "wt") as stream:
        stream.write(lines)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    for name in ("r.jsonl", "r.json", "r.jsonl.gz", "r.parquet"):
        assert [row for _, row in read_rows(str(tmp_path / name))] == rows
    (tmp_path / "bad.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(ProblemFileError, match="can't be read"):
        list(read_rows(str(tmp_path / "bad.jsonl.gz")))


def test_a_field_map_and_a_template() -> None:
    one = mapped({"prompt": "question", "answer": "final", "id": "key"})({"question": "q", "final": 3, "key": "k"}, "0")
    assert (one.problem.id, one.problem.prompt) == ("k", "q")
    assert one.problem.verifier.answer == "3"  # type: ignore[union-attr]
    made = mapped({"prompt": "q"}, {"type": "model", "rubric": "{r}", "votes": 5})({"q": "x", "r": "kind"}, "0")
    assert made.problem.verifier.rubric == "kind"  # type: ignore[union-attr]
    with pytest.raises(ProblemFileError, match="no such column"):
        mapped({"prompt": "nope"})({"q": "x"}, "0")
    with pytest.raises(ProblemFileError, match="no column"):
        mapped({"prompt": "q"}, {"type": "model", "rubric": "{nope}"})({"q": "x"}, "0")
