"""The rungs that need no sandbox: parsing, exact values, bounds."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.verifiers.base import Reason
from berry.verifiers.maths import bounds
from berry.verifiers.maths.expressions import evaluate, expr
from berry.verifiers.maths.ladder import decide, gold_fault

RATIONAL = st.fractions(max_denominator=10**6)


@given(RATIONAL)
def test_a_number_equals_all_its_spellings_and_no_other_number(x: Fraction) -> None:
    gold = str(x)
    n, d = x.numerator, x.denominator
    for spelling in (
        f"{n}/{d}",
        f"\\frac{{{n}}}{{{d}}}",
        f"\\dfrac{{{3 * n}}}{{{3 * d}}}",
        f"x = {n}/{d}",
        f"${gold}$",
    ):
        assert decide(gold, spelling).same is True
    assert decide(gold, f"\\frac{{{n + d}}}{{{d}}}").same is False
    assert decide(gold, str(-x)).same is (x == 0)


@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 9))
def test_an_expanded_square_is_the_square_and_nothing_else(a: int, b: int, c: int) -> None:
    gold = f"({a}x+{b})^{{2}}"
    expanded = f"{a * a}x^2+{2 * a * b}x+{b * b}"
    assert decide(gold, expanded).same is True
    assert decide(gold, f"{expanded}+{c}").same is False


@given(st.text(max_size=80))
def test_no_text_raises_or_equals_a_number_it_does_not_hold(text: str) -> None:
    decision = decide("8675309", text)
    assert decision.same is not True or any(char.isdecimal() for char in text)
    gold_fault(text)


LATEX = "\\frac { } ( ) [ ] 1 23 x ^ _ , = < \\pm \\sqrt % \\% $ | ! \\cup \\text{ \\boxed{ e i - + / ½ ² ٣ \\{ \\}"
PIECES = st.sampled_from([*LATEX.split(), "5 cm", " or ", "base 2"])


@given(st.lists(PIECES, max_size=40).map("".join))
def test_half_written_latex_never_raises_and_is_equal_to_itself(text: str) -> None:
    assert decide("x + 7", text).same is not True or "7" in text or "x" in text
    if gold_fault(text) is None and bounds.fault(text) is None:
        assert decide(text, text).same is True


REPETITIVE = {
    "letters": "5 " + "a" * 1000 + "!",
    "ones": "1 " * 500,
    "products": "ab " * 330,
    "signs": "-" * 1000 + "1",
    "factorials": "9!" * 400,
    "powers": "^".join("2" * 50),
    "quotients": "1/" * 500 + "1",
    "list": ",".join(["1"] * 500),
    "roots": "\\sqrt" * 200 + "2",
    "equations": "=".join("x" * 500),
    "bars": "|" * 1000,
    "halves": "½" * 1000,
    "percents": "5%" * 500,
    "plus-minus": "\\pm" * 300,
}


@pytest.mark.parametrize("text", REPETITIVE.values(), ids=REPETITIVE)
def test_repetitive_text_costs_milliseconds(text: str) -> None:
    start = time.process_time()
    decide("7", text)
    decide("(x+1)^2", text)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("tower", ["9^{9^{9^9}}", "2^{100001}", "10^{10^{10}}", "5000!", "\\binom{99999}{500}"])
def test_a_tower_is_refused_before_it_is_computed(tower: str) -> None:
    with pytest.raises(evaluate.TooLarge):
        evaluate.exact(expr.parse(tower))
    assert decide("7", tower).reason is Reason.ANSWER_TOO_LARGE


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1" * 1001, bounds.TextFault.TOO_MANY_DIGITS),
        ("x+" * 3000, bounds.TextFault.TOO_LONG),
        ("(" * 50 + ")" * 50, bounds.TextFault.TOO_NESTED),
        ("{1", bounds.TextFault.UNBALANCED),
        ("1}", bounds.TextFault.UNBALANCED),
        ("1\x00", bounds.TextFault.CONTROL),
        ("\u202e12", bounds.TextFault.BIDI),
        ("  ", bounds.TextFault.EMPTY),
        ("[1, 2)", None),
    ],
)
def test_bounds_name_what_is_wrong(text: str, fault: bounds.TextFault | None) -> None:
    assert bounds.fault(text) is fault


def test_digits_that_agree_by_rounding_alone_are_not_equal() -> None:
    assert decide("\\sqrt{2}", "1.4142135623730950488016887242096980785696718753769").same is False
    assert decide("\\pi", "3.14159265358979323846264338327950288419716939937511").same is False
    assert decide("1", "1+10^{-200}").same is False


@pytest.mark.parametrize("gold", ["", "   ", "\\frac{1}{", "\\frac{1}", "???", "1/", "x =", "\\text{}", "1\x00"])
def test_a_gold_that_cannot_be_read_is_said_before_a_run(gold: str) -> None:
    assert gold_fault(gold)


@pytest.mark.parametrize(
    "gold", ["0", "x", "\\emptyset", "Saturday", "\\{\\}", "A", "(1,2)", "5 \\text{ cm}", "\\clubsuit"]
)
def test_a_gold_that_can_be_read_is_accepted(gold: str) -> None:
    assert gold_fault(gold) is None
