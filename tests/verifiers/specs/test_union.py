"""The tagged union: one object in files, configs and code."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from berry.verifiers.registry import fault, verifier_for
from berry.verifiers.specs.union import VerifierSpec

ADAPTER = TypeAdapter(VerifierSpec)
GOOD = [
    {"type": "math", "answer": "42"},
    {"type": "math", "answer": 42},
    {
        "type": "python_function",
        "entry_point": "add",
        "tests": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    },
    {"type": "python_function", "entry_point": "add", "cases": [{"args": [1, 2], "expected": 3}]},
    {"type": "stdio", "language": "python", "cases": [{"stdin": "1 2\n", "stdout": "3\n"}]},
    {"type": "program_tests", "language": "cpp", "tests": "int main() { assert(f(1) == 1); }"},
    {"type": "program_of_thought", "answer": "3"},
    {"type": "expression", "numbers": [1, 2, 3], "target": 6},
    {"type": "reasoning_gym", "dataset": "x", "entry": {"question": "", "answer": "", "metadata": {}}},
    {"type": "formal", "system": "coq", "statement": "Theorem t : 1 + 1 = 2."},
    {"type": "formal", "system": "lean", "statement": "theorem t : 1 + 1 = 2"},
    {"type": "majority"},
    {"type": "model", "rubric": "is it kind?"},
    {"type": "all_of", "parts": [{"type": "math", "answer": "1"}, {"type": "model", "rubric": "short"}]},
    {"type": "any_of", "parts": [{"type": "math", "answer": "1"}]},
    {"type": "weighted", "parts": [{"weight": 2, "verifier": {"type": "math", "answer": "1"}}]},
    {"type": "custom", "function": "checks.py:polite", "source": "def polite(response, prompt):\n    return True\n"},
]


@pytest.mark.parametrize("spec", GOOD, ids=lambda spec: spec["type"])
def test_every_kind_is_read_written_and_has_a_verifier(spec) -> None:
    read = ADAPTER.validate_python(spec)
    assert fault(read) is None
    assert ADAPTER.validate_json(ADAPTER.dump_json(read)) == read
    assert callable(verifier_for(read))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"type": "maths", "answer": "42"}, "math"),
        ({"type": "math"}, "answer"),
        ({"type": "math", "answer": "1", "anwser": 2}, "anwser"),
        ({"type": "python_function", "entry_point": "f"}, "tests"),
        ({"type": "python_function", "entry_point": "f; import os", "tests": "1"}, "entry_point"),
        ({"type": "stdio", "cases": [{"stdout": ""}], "compare": "checker"}, "checker"),
        ({"type": "stdio", "cases": []}, "cases"),
        ({"type": "expression", "target": 1}, "numbers"),
        ({"type": "program_tests", "language": "cobol", "tests": "x"}, "language"),
        ({"type": "custom", "function": "no_colon"}, "function"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_by_name(spec, field) -> None:
    with pytest.raises(ValidationError, match=field):
        ADAPTER.validate_python(spec)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"type": "math", "answer": "\\frac{1}{"}, "don't match"),
        ({"type": "math", "answer": " "}, "empty"),
        ({"type": "python_function", "entry_point": "f", "tests": "assert f(1 = 2"}, "compiled"),
        ({"type": "python_function", "entry_point": "f", "tests": "assert f(1) == 2\nassert f(1) == 3"}, "contradict"),
        (
            {"type": "python_function", "entry_point": "f", "cases": [{"args": [1], "expected": e} for e in (1, 2)]},
            "contradict",
        ),
        ({"type": "stdio", "cases": [{"stdin": "1", "stdout": "1"}, {"stdin": "1", "stdout": "2"}]}, "contradict"),
        ({"type": "stdio", "cases": [{"stdout": ""}], "compare": "checker", "checker": "x = 1"}, "check"),
        ({"type": "program_tests", "language": "cpp", "tests": "assert(true);"}, "main"),
        ({"type": "expression", "target": "x", "numbers": [1]}, "target"),
        ({"type": "expression", "target": 1, "skeleton": "1 + )"}, "skeleton"),
        ({"type": "reasoning_gym", "dataset": "x", "entry": {}}, "question"),
        ({"type": "formal", "system": "coq", "statement": "1 + 1 = 2"}, "statement"),
        ({"type": "formal", "system": "lean", "statement": "theorem t : True := trivial"}, ":="),
        (
            {"type": "all_of", "parts": [{"type": "math", "answer": "1"}, {"type": "math", "answer": "?"}]},
            r"parts\[1\]",
        ),
    ],
)
def test_a_problem_that_can_never_be_checked_says_why_before_a_run(spec, says) -> None:
    import re

    problem = fault(ADAPTER.validate_python(spec))
    assert problem is not None
    assert re.search(says, problem)
