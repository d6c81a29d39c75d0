"""Standard benchmarks by name: asked and judged as the field does, and only their own test part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.cli.eval_runs import benchmark_problems
from berry.pipeline.config.sections.evaluation import BenchmarkFile
from berry.pipeline.errors import ConfigError, ProblemFileError
from berry.pipeline.stages.problems.benchmarks import BOXED, STANDARD, partial_note
from berry.pipeline.stages.problems.importing import IMPORTERS
from berry.verifiers.specs.union import MathSpec


def written(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


GSM8K = {"question": "Ann has 2 pears and buys 3. How many has she?", "answer": "2+3=<<2+3=5>>5\n#### 5"}


def test_a_benchmark_s_own_name_says_what_its_file_is(tmp_path: Path):
    file = written(tmp_path / "test.jsonl", GSM8K)
    (problem,) = benchmark_problems("gsm8k", BenchmarkFile(path=file))
    assert problem.text == GSM8K["question"] + BOXED
    assert problem.verifier == MathSpec.model_validate({"answer": "5", "strictness": "lenient"})
    (again,) = benchmark_problems("mine", BenchmarkFile(path=file, dataset="gsm8k", suffix=" Be brief."))
    assert again.text == GSM8K["question"] + " Be brief."


def test_a_problem_file_of_that_name_is_taken_as_it_is(tmp_path: Path):
    row = {"id": "a", "prompt": "1 + 1?", "verifier": {"type": "math", "answer": "2"}}
    (problem,) = benchmark_problems("gsm8k", BenchmarkFile(path=written(tmp_path / "own.jsonl", row)))
    assert (problem.text, problem.verifier.model_dump()["strictness"]) == ("1 + 1?", None)


def test_of_mbpp_the_test_part_alone_is_taken(tmp_path: Path):
    rows = [
        {
            "task_id": n,
            "text": f"Write f{n}.",
            "code": f"def f{n}(): return {n}",
            "test_list": [f"assert f{n}() == {n}"],
        }
        for n in (10, 11, 510, 511)
    ]
    found = benchmark_problems("mbpp", BenchmarkFile(path=written(tmp_path / "mbpp.jsonl", *rows)))
    assert [p.id for p in found] == ["mbpp-11", "mbpp-510"]


def test_what_is_not_the_whole_benchmark_is_said():
    assert partial_note("gsm8k", "gsm8k", 1319) is None
    assert partial_note("mine", "aime25", 12) == (
        "mine: 12 problems, where AIME 2025 has 30: not a figure to compare with others'"
    )
    assert partial_note("sums", "sums", 3) is None


def test_every_standard_benchmark_has_its_importer():
    assert {one.dataset for one in STANDARD.values()} <= set(IMPORTERS)


def test_a_file_of_another_data_set_and_an_unknown_name_are_refused(tmp_path: Path):
    file = written(tmp_path / "x.jsonl", {"problem": "1 + 1?", "solution": "2"})
    with pytest.raises(ProblemFileError, match="lacks the field 'answer'"):
        list(benchmark_problems("gsm8k", BenchmarkFile(path=file)))
    with pytest.raises(ConfigError, match="gms8k"):
        list(benchmark_problems("x", BenchmarkFile(path=file, dataset="gms8k")))
