"""The checker as a whole: concurrency, its counters, and every spec against every bad response."""

from __future__ import annotations

import time

import pytest
from pydantic import TypeAdapter

from berry.verifiers import registry
from berry.verifiers.base import Outcome, Reason, truncate, verdict
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.specs.code import Case
from berry.verifiers.specs.union import AllOfSpec, CustomSpec, MathSpec, PythonFunctionSpec, VerifierSpec

ADAPTER = TypeAdapter(VerifierSpec)
SPECS = [
    {"type": "math", "answer": "42"},
    {"type": "math", "answer": "\\frac{1}{"},
    {"type": "python_function", "entry_point": "f", "tests": "assert f(1) == 2"},
    {"type": "python_function", "entry_point": "f", "cases": [{"args": [1], "expected": 2}]},
    {"type": "stdio", "cases": [{"stdin": "1", "stdout": "2"}]},
    {"type": "program_tests", "language": "shell", "tests": "[ x = y ]"},
    {"type": "program_of_thought", "answer": "42"},
    {"type": "expression", "numbers": [1, 2], "target": 3},
    {"type": "formal", "system": "lean", "statement": "theorem t : 1 + 1 = 2"},
    {"type": "majority"},
    {"type": "model", "rubric": "kind"},
    {"type": "all_of", "parts": [{"type": "math", "answer": "42"}, {"type": "majority"}]},
]
BAD = [
    *("", " ", "\0", "\ud800", "\u202e24", "\x1b[31m7", "\r\n" * 50, "é" * 2000, "🦙" * 100),
    *("x" * 300_000, "{" * 5000, "\\boxed{" * 3000, "9" * 20_000),
    *(
        "```",
        "```python",
        "<think>",
        "</think>",
        "<answer></answer>",
        "####",
        "The answer is",
        "\\boxed{}",
        "\\boxed{\\frac{",
    ),
    *("5 or 6", "def f(x", "import os; os.kill(1, 9)", "raise SystemExit"),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s['type']}-{SPECS.index(s)}")
def test_no_bad_response_raises_or_passes(check_all, spec) -> None:
    read = ADAPTER.validate_python(spec)
    for verdict_ in check_all([(read, response) for response in BAD]):
        assert verdict_.outcome is not Outcome.PASS
        assert verdict_.outcome is verdict_.reason.outcome
        assert len(str(dict(verdict_.evidence))) < 5000


def test_checks_at_once_do_not_mix(check_all) -> None:
    pairs = [(MathSpec(answer=str(i)), f"The answer is {i + i % 2}.") for i in range(200)]
    pairs += [
        (PythonFunctionSpec(entry_point="f", tests=f"assert f(1) == {i}"), f"def f(x):\n    return {i + i % 2}")
        for i in range(20)
    ]
    verdicts = check_all(pairs)
    assert [v.passed for v in verdicts] == [i % 2 == 0 for i in [*range(200), *range(20)]]


def test_counters_count(check, warm) -> None:
    before = warm[1].metrics()
    check(MathSpec(answer="1"), "1")
    after = warm[1].metrics()
    assert after["outcome_pass"] == before.get("outcome_pass", 0) + 1
    assert after["in_service"] == 0
    assert all(isinstance(value, float) for value in after.values())


def test_each_kind_counts_what_it_takes_of_slots(check_all, warm) -> None:
    before = warm[1].metrics()
    code, program = PythonFunctionSpec(entry_point="f", tests="assert f(1) == 1"), "def f(x):\n    return x"
    check_all([(MathSpec(answer="1"), "1"), (code, program), (AllOfSpec(parts=(code, code)), program)])
    after = warm[1].metrics()
    spent = {name: value - before.get(name, 0) for name, value in after.items() if name.startswith("kind:")}
    kinds = ("math", "python_function", "all_of")
    assert [spent[f"kind:{kind}:checks"] for kind in kinds] == [1, 1, 1]  # parts are of their whole
    in_slots = spent["kind:python_function:held_s"] + spent["kind:all_of:held_s"]
    assert in_slots == pytest.approx(after["pool_service_s"] - before["pool_service_s"])
    assert 0 < spent["kind:python_function:cpu_s"] < spent["kind:python_function:held_s"]
    assert spent["kind:math:held_s"] < 0.05


def test_a_check_without_a_slot_takes_its_threads_cpu_and_its_workers_and_no_waiting(check_all, warm) -> None:
    def taken(pairs: list[tuple[MathSpec, str]]) -> float:
        before = warm[1].metrics()
        check_all(pairs)
        after = warm[1].metrics()
        assert after["kind:math:held_s"] - before["kind:math:held_s"] == pytest.approx(
            after["kind:math:cpu_s"] - before["kind:math:cpu_s"]
        )
        return after["kind:math:cpu_s"] - before["kind:math:cpu_s"]

    asks_sympy = [
        (MathSpec(answer="\\frac{\\sin 7x}{2}"), "The answer is $\\boxed{\\frac12\\cos(7x - \\frac{\\pi}{2})}$.")
    ]
    taken(asks_sympy)  # the worker starts, which is nobody's time
    asked = warm[1].metrics()["symbolic_asked"]
    began = time.process_time()
    alone = taken([(MathSpec(answer=str(n)), f"The answer is $\\boxed{{{n}}}$.") for n in range(100)])
    assert 0 < alone <= time.process_time() - began  # a hundred at once: each its own steps, not the others'
    assert warm[1].metrics()["symbolic_asked"] == asked
    assert taken(asks_sympy) > alone / 100
    assert warm[1].metrics()["symbolic_asked"] == asked + 1


def test_evidence_is_plain_and_short() -> None:
    assert truncate("x" * 1000).endswith("(+500 characters)")
    assert truncate(10**500) == "int of 1661 bits"
    assert truncate("\ud800") == "?"
    assert dict(verdict(Reason.CORRECT, a=None, b=1).evidence) == {"b": 1}


def test_every_reason_has_one_outcome() -> None:
    assert {r for r in Reason if r.outcome is Outcome.PASS} == {Reason.CORRECT}
    assert all(r.outcome is Outcome.UNVERIFIABLE for r in Reason if r.retryable)


def test_problems_that_no_sandbox_can_take_are_broken(check) -> None:
    deep: list = []
    for _ in range(150):
        deep = [deep]
    function = PythonFunctionSpec(entry_point="f", cases=(Case(args=(deep,), expected=1),))
    for spec in (function, CustomSpec(function="berry.verifiers.base:truncate", options={"value": deep})):
        found = check(spec, "def f(a): return 1")
        assert found.reason is Reason.TESTS_BROKEN
        assert "nested deeper" in found.evidence["note"]


async def test_an_unexpected_error_is_a_verdict_of_its_own_and_is_reported(monkeypatch, caplog) -> None:
    async def broken(request, context):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(registry, "_kind", lambda kind: registry.VerifierKind(broken, lambda spec: None))
    async with Checker() as checker:
        verdict = await checker.check(CheckRequest("p\ud800", MathSpec(answer="1"), "1"))
        assert checker.check_inline(CheckRequest("p", MathSpec(answer="1"), "1")) is None
        assert checker.metrics()["reason_check_error"] == 1
    assert (verdict.outcome, verdict.reason) == (Outcome.UNVERIFIABLE, Reason.CHECK_ERROR)
    assert verdict.evidence["note"] == "ZeroDivisionError: oops"
    assert "math verifier failed on problem" in caplog.text
    assert "ZeroDivisionError: oops" in caplog.text
    assert not Reason.CHECK_ERROR.retryable
