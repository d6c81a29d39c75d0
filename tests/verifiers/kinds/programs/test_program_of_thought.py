"""`program_of_thought`: the program's result, as mathematics."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Reason
from berry.verifiers.kinds.programs.program_of_thought import shown
from berry.verifiers.specs.union import ProgramOfThoughtSpec


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        ("42", "def solution():\n    return 6 * 7", Reason.CORRECT),
        ("42", "answer = 6 * 7", Reason.CORRECT),
        ("42", "print('working')\nprint(6 * 7)", Reason.CORRECT),
        ("\\frac{1}{3}", "from fractions import Fraction\nanswer = Fraction(1, 3)", Reason.CORRECT),
        ("\\frac{1}{3}", "answer = 1 / 3", Reason.CORRECT),
        ("\\sqrt{2}", "import sympy\ndef solution():\n    return sympy.sqrt(2)", Reason.CORRECT),
        ("(1,2)", "answer = (1, 2)", Reason.CORRECT),
        ("\\{1,2\\}", "answer = {2, 1}", Reason.CORRECT),
        ("42", "answer = 43", Reason.WRONG_ANSWER),
        ("42", "x = 42", Reason.NO_ANSWER),
        ("42", "def solution():\n    return 1 / 0", Reason.RUNTIME_ERROR),
        ("42", "answer = (", Reason.COMPILE_ERROR),
        ("42", "", Reason.NO_CODE),
        ("\\frac{1}{", "answer = 1", Reason.GOLD_UNPARSABLE),
        ("42", "def next(*found): return []", Reason.NO_ANSWER),  # what asks for the answer is the program's to break,
        ("42", "def next(*found): return [True]", Reason.NO_ANSWER),  # and to fail by
        ("42", "def globals(): raise SystemExit", Reason.RUNTIME_ERROR),
    ],
)
def test_results(check, answer, code, reason) -> None:
    assert check(ProgramOfThoughtSpec(answer=answer), code).reason is reason


@pytest.mark.slow
def test_a_program_that_never_ends_fails(check) -> None:
    spec = ProgramOfThoughtSpec(answer="42", cpu_s=0.5)
    assert check(spec, "while True: pass").reason is Reason.CPU_LIMIT


def test_values_are_written_as_the_ladder_reads_them() -> None:
    assert [shown(v) for v in ((1, 2), [1, 2], {2, 1}, 0.5, 1 + 2j, True, "x")] == [
        "(1, 2)", "1, 2", "\\{1, 2\\}", "0.5", "1.0+(2.0)*i", "True", "x",
    ]  # fmt: skip
