"""Problems out of data sets' own rows."""

from __future__ import annotations

import base64
import gzip
import json
import pickle
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from berry.pipeline.cli import import_problems
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.stages.problems.datasets.base import Imported, Unusable
from berry.pipeline.stages.problems.datasets.programs import called
from berry.pipeline.stages.problems.importing import IMPORTERS, convert, mapped, read_rows
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
    "math500": {"problem": "Solve.", "solution": "So \\boxed{7}.", "answer": "7", "unique_id": "test/a/1.json"},
    "aime": {"ID": "2024-II-4", "Problem": "Find it.", "Solution": "So \\boxed{033}.", "Answer": 33, "Year": 2024},
    "numina_math": {"problem": "Find it.", "solution": "Hence \\boxed{12}.", "source": "olympiads"},
    "openr1_math": {
        "problem": "How far?",
        "answer": "9 \\mathrm{km}",
        "solution": "So \\boxed{9}.",
        "uuid": "u-1",
        "question_type": "math-word-problem",
        "problem_is_valid": "Yes",
        "solution_is_valid": "Yes",
    },
    "deepscaler": {"problem": "Find it.", "answer": "-\\frac{2}{3}", "solution": ""},
    "dapo": {
        "data_source": "math_dapo",
        "prompt": [{"role": "user", "content": "Find it."}],
        "ability": "MATH",
        "reward_model": {"ground_truth": "34", "style": "rule"},
        "extra_info": {"index": "id-1"},
    },
    "big_math": {
        "prompt": "Find it.",
        "answer": "5",
        "source": "orca",
        "domain": ["Algebra"],
        "llama8b_solve_rate": 0.5,
    },
    "open_math_reasoning": {
        "problem": "Find it.",
        "expected_answer": "1/2",
        "problem_type": "has_answer_extracted",
        "generated_solution": "It is \\boxed{1/2}.",
    },
    "humaneval_plus": HUMANEVAL,
    "mbpp_plus": {
        "task_id": 2,
        "prompt": "Share.",
        "code": "def f(a):\n    return a",
        "test_list": ["assert f(1) == 1"],
        "test_imports": ["import math"],
        "test": "for a in range(9):\n    assert f(a) == a\n",
    },
    "apps": {
        "problem_id": 3,
        "question": "Double it.",
        "difficulty": "interview",
        "starter_code": "def double(n):",
        "input_output": json.dumps({"fn_name": "double", "inputs": [[2]], "outputs": [[4]]}),
        "solutions": json.dumps(["def double(n):\n    return 2 * n"]),
    },
    "taco": {
        "question": "Add.",
        "time_limit": "2.0 seconds",
        "memory_limit": "256.0 megabytes",
        "picture_num": "0",
        "input_output": json.dumps({"inputs": ["1 2\n", ["3", "4"]], "outputs": ["3\n", ["7"]]}),
        "solutions": "[]",
    },
    "livecodebench": {
        "question_id": "q1",
        "question_content": "Add.",
        "starter_code": "class Solution:\n    def add(self, a, b):",
        "public_test_cases": json.dumps([{"input": "1\n2", "output": "3", "testtype": "functional"}]),
        "private_test_cases": base64.b64encode(
            zlib.compress(
                pickle.dumps(json.dumps([{"input": "[1]\n[2]", "output": "[1, 2]", "testtype": "functional"}]))
            )
        ).decode(),
        "metadata": json.dumps({"func_name": "add"}),
    },
    "kodcode": {
        "question_id": "K_1",
        "question": "Double it.",
        "solution": "def double(n):\n    return 2 * n",
        "test": "from solution import double\n\ndef test_two():\n    assert double(2) == 4\n",
        "test_info": [{"function_name": "double", "function_declaration": "def double(n):"}],
    },
    "eurus": {
        "data_source": "taco",
        "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": "Add."}],
        "ability": "code",
        "extra_info": {"index": 5, "split": "train"},
        "reward_model": {"ground_truth": json.dumps({"inputs": ["1 2"], "outputs": ["3"]}), "style": "rule"},
    },
    "synthetic1": {
        "problem_id": "v_1",
        "task_type": "verifiable_code",
        "prompt": "Add.",
        "source": "apps",
        "gold_standard_solution": "```python\nprint(sum(map(int, input().split())))\n```",
        "verification_info": json.dumps(
            {
                "language": "python",
                "test_cases": [{"type": "stdin_stdout", "fn_name": None, "input": "1 2", "output": "3"}],
            }
        ),
    },
    "synthetic2": {
        "problem_id": "m_1",
        "task_type": "verifiable_math",
        "prompt": "Find it.",
        "verification_info": json.dumps({"ground_truth": "42"}),
    },
    "verl": {
        "data_source": "openai/gsm8k",
        "prompt": [{"role": "user", "content": "How many?"}],
        "ability": "math",
        "reward_model": {"ground_truth": "72"},
        "extra_info": {"index": 0},
    },
    "nemotron": {
        "uuid": "n-1",
        "category": "math",
        "metadata": json.dumps({"expected_answer": "8"}),
        "messages": [{"role": "user", "content": "Find it."}, {"role": "assistant", "content": "8"}],
    },
    "ifeval": {
        "key": 1000,
        "prompt": "Write, without commas, 300 words with two *highlights*.",
        "instruction_id_list": ["punctuation:no_comma", "detectable_format:number_highlighted_sections"],
        "kwargs": [{"relation": None}, {"num_highlights": 2}],
    },
    "minif2f": {
        "id": "mathd_1",
        "split": "valid",
        "informal_stmt": "Show it.",
        "header": "import Mathlib\n",
        "formal_statement": "theorem mathd_1 : 1 + 1 = 2 := by\n  sorry",
    },
}
SOURCES = {
    "math500": "math",
    "humaneval_plus": "humaneval",
    "mbpp_plus": "mbpp",
    "eurus": "taco",
    "verl": "openai/gsm8k",
    "synthetic1": "synthetic",
    "synthetic2": "synthetic",
}


@pytest.mark.parametrize("name", sorted(IMPORTERS))
def test_a_row_becomes_a_problem_that_can_be_checked(name) -> None:
    imported = IMPORTERS[name]()(ROWS[name], "7")
    assert spec_fault(imported.problem.verifier) is None
    assert imported.problem.source == SOURCES.get(name, name)
    assert imported.problem.id


def test_what_each_takes_from_its_row() -> None:
    gsm = IMPORTERS["gsm8k"]()(ROWS["gsm8k"], "0")
    assert gsm.problem.verifier.answer == "1024"  # type: ignore[union-attr]
    assert gsm.reference == "48/2 = 24\n#### 1,024"
    assert IMPORTERS["math"]()(ROWS["math"], "0").problem.verifier.answer == "\\frac12"  # type: ignore[union-attr]
    human = IMPORTERS["humaneval"]()(HUMANEVAL, "0").problem.verifier
    assert human.prelude == "import math\n\ndef helper(x):\n    return x\n\n"  # type: ignore[union-attr]
    assert IMPORTERS["mbpp"]()(ROWS["mbpp"], "0").problem.verifier.entry_point == "rem"  # type: ignore[union-attr]
    cpp = IMPORTERS["multipl_e"]()(ROWS["multipl_e"], "0").problem.verifier
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
        ("aime", {"problem": "x", "answer": "1/2"}, "integer"),
        ("numina_math", {"problem": "x", "answer": "proof"}, "a proof"),
        ("numina_math", {"problem": "x", "answer": "notfound"}, "no final answer"),
        ("openr1_math", {**ROWS["openr1_math"], "question_type": "proof"}, "a proof"),
        ("openr1_math", {**ROWS["openr1_math"], "solution_is_valid": "Incomplete"}, "solution_is_valid"),
        ("open_math_reasoning", {**ROWS["open_math_reasoning"], "problem_type": "no_answer_extracted"}, "vote"),
        ("apps", {**ROWS["apps"], "input_output": ""}, "no tests"),
        ("apps", {**ROWS["apps"], "input_output": '{"inputs": ["1"], "outputs": []}'}, "1 inputs and 0 outputs"),
        ("taco", {**ROWS["taco"], "picture_num": "2"}, "pictures"),
        ("code_contests", {**ROWS["code_contests"], "input_file": "in.txt"}, "uses a file"),
        ("livecodebench", {**ROWS["livecodebench"], "private_test_cases": "eJxx"}, "can't be read"),
        ("kodcode", {**ROWS["kodcode"], "test": "import pytest\ndef test_a(): pass"}, "pytest"),
        ("eurus", {**ROWS["eurus"], "reward_model": {"ground_truth": "7"}}, "no list of inputs"),
        ("verl", {**ROWS["verl"], "reward_model": {}}, "ground_truth"),
        ("synthetic1", {**ROWS["synthetic1"], "task_type": "git_diff"}, "git_diff"),
        ("nemotron", {**ROWS["nemotron"], "metadata": "{}"}, "a model's own answer"),
        ("ifeval", {**ROWS["ifeval"], "instruction_id_list": ["a:rhyme", "b:c"]}, "a:rhyme"),
    ],
)
def test_a_row_that_cannot_be_checked_is_left_out_with_its_reason(tmp_path, name, row, says) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(ROWS[name]) + "\n")
    (where, left_out), (_, taken) = convert(str(path), IMPORTERS[name]())
    assert where.endswith("line 1")
    assert isinstance(left_out, str)
    assert says in left_out
    assert isinstance(taken, Imported)


def test_synthetics_tasks_may_be_python_literals_and_its_solutions_bare_code() -> None:
    row = ROWS["synthetic1"]
    written = {
        **row,
        "verification_info": str(json.loads(str(row["verification_info"]))),
        "gold_standard_solution": "x",
    }
    imported = IMPORTERS["synthetic1"]()(written, "0")
    assert imported.problem == IMPORTERS["synthetic1"]()(row, "0").problem
    assert imported.reference == "```python\nx\n```"
    with pytest.raises(Unusable, match="neither JSON nor a Python literal"):
        IMPORTERS["synthetic1"]()({**row, "verification_info": "__import__('os')"}, "0")


@pytest.mark.parametrize("name", ["synthetic1", "nemotron"])
def test_several_responses_to_one_problem_make_one_problem(tmp_path, name: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**ROWS[name], "uuid": str(n), "response_id": n}) + "\n" for n in range(3)))
    first, *others = (imported for _, imported in convert(str(path), IMPORTERS[name]()))
    assert isinstance(first, Imported)
    assert others == ["a repeat of an earlier row"] * 2


def test_another_data_sets_file_is_refused_by_the_missing_field(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS["math"]))
    with pytest.raises(ProblemFileError, match="answer"):
        list(convert(str(path), IMPORTERS["gsm8k"]()))


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


def test_private_tests_that_would_run_code_are_not_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (open, (str(tmp_path / "made"), "w"))  # type: ignore[return-value]

    packed = base64.b64encode(zlib.compress(pickle.dumps(Bomb()))).decode()
    with pytest.raises(Unusable, match="where a text belongs"):
        IMPORTERS["livecodebench"]()({**ROWS["livecodebench"], "private_test_cases": packed}, "0")
    assert not (tmp_path / "made").exists()


def test_a_repeat_is_left_out_and_another_file_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    other = {**ROWS["dapo"], "extra_info": {"index": "id-2"}}
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROWS["dapo"], ROWS["dapo"], other)))
    for _ in range(2):
        taken = [imported for _, imported in convert(str(path), IMPORTERS["dapo"]())]
        assert [isinstance(t, Imported) for t in taken] == [True, False, True]
        assert taken[1] == "a repeat of an earlier row"


def test_limits_and_tests_are_what_the_rows_say() -> None:
    taco = IMPORTERS["taco"]()(ROWS["taco"], "0").problem.verifier.model_dump()
    assert [(c["stdin"], c["stdout"]) for c in taco["cases"]] == [("1 2\n", "3\n"), ("3\n4", "7")]
    assert (taco["cpu_s"], taco["memory_mb"]) == (10.0, 256)
    apps = IMPORTERS["apps"]()(ROWS["apps"], "0").problem.verifier.model_dump()
    assert (apps["entry_point"], apps["cases"][0]["args"], apps["cases"][0]["expected"]) == ("double", (2,), 4)
    lcb = IMPORTERS["livecodebench"]()(ROWS["livecodebench"], "0").problem.verifier.model_dump()
    assert [(c["args"], c["expected"]) for c in lcb["cases"]] == [((1, 2), 3), (([1], [2]), [1, 2])]
    aime = IMPORTERS["aime"]()(ROWS["aime"], "0")
    assert (aime.problem.verifier.answer, aime.problem.id) == ("33", "aime-2024-II-4")  # type: ignore[union-attr]


def test_the_command_verifies_the_references_and_says_what_came_of_each_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    wrong = {**ROWS["kodcode"], "question_id": "K_2", "solution": "def double(n):\n    return n"}
    left = {**ROWS["kodcode"], "test": "import pytest"}
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROWS["kodcode"], wrong, left)))
    words = ["kodcode", str(path), "-o", str(tmp_path / "p.jsonl"), "--references", str(tmp_path / "r.jsonl")]
    done = CliRunner().invoke(import_problems.app, words)
    assert done.exit_code == 0, done.output
    assert "3 rows: 2 problems" in done.output
    assert "1 left out" in done.output
    assert "references: 1 pass (50.0% of the checked), 1 fail, 0 could not be checked" in done.output
    assert "kodcode-K_2: fail, wrong_answer" in done.output


def test_every_data_set_has_its_command() -> None:
    assert set(import_problems.DATASETS) == set(IMPORTERS)


def test_nested_columns_are_mapped_by_a_dotted_path() -> None:
    row = {"task": {"text": "How many?"}, "truth": json.dumps({"value": "7"})}
    imported = mapped({"prompt": "task.text", "answer": "truth.value"})(row, "0")
    assert (imported.problem.prompt, imported.problem.verifier.answer) == ("How many?", "7")  # type: ignore[union-attr]


def test_instructions_become_constraints_and_statements_lose_their_sorry() -> None:
    spec = IMPORTERS["ifeval"]()(ROWS["ifeval"], "0").problem.verifier.model_dump()
    assert [(c["kind"], c.get("min")) for c in spec["constraints"]] == [("no_commas", None), ("highlights", 2)]
    fewer = {"instruction_id_list": ["length_constraints:number_words"]}
    fewer |= {"kwargs": json.dumps([{"num_words": 100, "relation": "less than"}])}
    spec = IMPORTERS["ifeval"]()({**ROWS["ifeval"], **fewer}, "0").problem.verifier.model_dump()
    assert (spec["constraints"][0]["min"], spec["constraints"][0]["max"]) == (None, 99)
    proof = IMPORTERS["minif2f"]()(ROWS["minif2f"], "0").problem.verifier.model_dump()
    assert (proof["statement"], proof["header"]) == ("theorem mathd_1 : 1 + 1 = 2", "import Mathlib\n")


def test_a_question_carries_the_statements_that_make_its_database(tmp_path: Path) -> None:
    (tmp_path / "db" / "shop").mkdir(parents=True)
    with closing(sqlite3.connect(tmp_path / "db" / "shop" / "shop.sqlite")) as made:
        made.executescript("CREATE TABLE item(name text, price int); INSERT INTO item VALUES ('pen', 2), ('ink', 5);")
    rows = [
        {"db_id": "shop", "question": "What costs more than 3?", "query": "SELECT name FROM item WHERE price > 3"},
        {"db_id": "zoo", "question": "Who?", "query": "SELECT 1"},
    ]
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(rows))
    words = ["sql", str(path), "-o", str(tmp_path / "p.jsonl"), "--databases", str(tmp_path / "db")]
    done = CliRunner().invoke(import_problems.app, [*words, "--references", str(tmp_path / "r.jsonl")])
    assert done.exit_code == 0, done.output
    assert "references: 1 pass (100.0% of the checked), 0 fail" in done.output
    assert "there is no database" in done.output
    problem = json.loads((tmp_path / "p.jsonl").read_text())
    assert "CREATE TABLE item" in problem["prompt"]
    assert "'ink'" not in problem["prompt"]


def test_mbpp_functions_named_like_builtins_are_the_ones_that_the_solution_defines() -> None:
    row = {
        "task_id": 126,
        "text": "sum",
        "test_list": ["assert sum(4, 6) == 3"],
        "code": "def sum(a,b): \r\n    return 3",
    }
    assert IMPORTERS["mbpp"]()(row, "0").problem.verifier.entry_point == "sum"  # type: ignore[union-attr]


def test_mbpp_tests_that_lack_a_module_or_need_the_programs_own_classes() -> None:
    read = IMPORTERS["mbpp"]()
    row = {"task_id": 1, "text": "size", "test_list": ["assert size((1, 2)) == sys.getsizeof((1, 2))"], "code": ""}
    spec = read(row, "0").problem.verifier
    assert (spec.type, spec.prelude) == ("python_function", "import sys")  # type: ignore[union-attr]
    row = {**row, "test_setup_code": "root = Node(1)\nroot.left = Node(2)", "test_list": ["assert size(root) == 2"]}
    spec = read(row, "0").problem.verifier
    assert (spec.type, spec.tests) == (  # type: ignore[union-attr]
        "program_tests", "root = Node(1)\nroot.left = Node(2)\nassert size(root) == 2",
    )  # fmt: skip
