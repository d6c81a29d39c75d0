"""`expression`: exactly what is given, nothing else."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Reason
from berry.verifiers.kinds.expression import check as decide
from berry.verifiers.specs.union import ExpressionSpec

BRACKETS = ExpressionSpec(skeleton="1 + 2 * 3 + 4 * 5 + 6 * 7 + 8 * 9", target=479, brackets=1)
NINE = ExpressionSpec(numbers=(1, 2, 3), target=9)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("1 + 2 * (3 + 4 * 5 + 6) * 7 + 8 * 9", Reason.CORRECT),
        ("1 + 2 * (3 + 4 * 5 + 6) * 7 + 8 * 9 = 479", Reason.CORRECT),
        ("1 + 2 \\times (3 + 4 \\cdot 5 + 6) × 7 + 8 * 9", Reason.CORRECT),
        ("(1 + 2) * 3 + 4 * 5 + 6 * 7 + 8 * 9", Reason.WRONG_ANSWER),
        ("1 + 2 * (3 + 4 * 5 + 6) * (7) + 8 * 9", Reason.DISALLOWED),
        ("1 + 2 * 3 + 4 * 5 + 6 * 7 + 8 * 9", Reason.DISALLOWED),
        ("479", Reason.DISALLOWED),
        ("1 + 2 * (3 + 4 * 5 + 6 * 7 + 8 * 9", Reason.UNPARSABLE_ANSWER),
    ],
)
def test_one_pair_of_brackets_is_added(answer, reason) -> None:
    assert decide(BRACKETS, answer)[0] is reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("(1+2)*3", Reason.CORRECT),
        ("3*(2+1) = 9", Reason.CORRECT),
        ("3(2+1)", Reason.CORRECT),
        ("(1+2)*3 = 10", Reason.WRONG_ANSWER),
        ("(1+2)*3*1", Reason.DISALLOWED),
        ("3*3", Reason.DISALLOWED),
        ("12-3", Reason.DISALLOWED),
        ("3^2*1", Reason.DISALLOWED),
        ("3!+2+1", Reason.DISALLOWED),
        ("\\sqrt{3}*2+1", Reason.DISALLOWED),
        ("=", Reason.UNPARSABLE_ANSWER),
        ("9", Reason.DISALLOWED),
        ("1+2+3", Reason.WRONG_ANSWER),
        ("3/(2-2)+1", Reason.DISALLOWED),
        ("1/0", Reason.DISALLOWED),
        ("", Reason.UNPARSABLE_ANSWER),
        ("__import__('os')", Reason.UNPARSABLE_ANSWER),
        ("(" * 100 + "1" + ")" * 100, Reason.ANSWER_TOO_LARGE),
    ],
)
def test_each_number_once_and_only_given_operators(answer, reason) -> None:
    assert decide(NINE, answer)[0] is reason


def test_division_by_zero_is_wrong_and_does_not_raise() -> None:
    assert decide(ExpressionSpec(numbers=(1, 0), target=1), "1/0") == (Reason.WRONG_ANSWER, "division by zero")


def test_options() -> None:
    ordered = ExpressionSpec(numbers=(1, 2, 3), target=9, keep_order=True)
    assert decide(ordered, "(1+2)*3")[0] is Reason.CORRECT
    assert decide(ordered, "3*(1+2)")[0] is Reason.DISALLOWED
    added = ExpressionSpec(numbers=(1, 2, 3), target=6, operators=("+",))
    assert decide(added, "1+2+3")[0] is Reason.CORRECT
    assert decide(added, "1*2*3")[0] is Reason.DISALLOWED
    assert decide(added, "1(2)(3)")[0] is Reason.DISALLOWED
    assert decide(ExpressionSpec(numbers=(1, 3), target="1/3"), "\\frac{1}{3}")[0] is Reason.CORRECT


def test_from_a_response(check) -> None:
    assert check(NINE, "I try 3*3. The answer is (1+2)*3.").passed
    assert check(NINE, "\\boxed{(1+2)*3} or \\boxed{3*3}").reason is not Reason.CORRECT
    assert check(NINE, "").reason is Reason.NO_ANSWER
