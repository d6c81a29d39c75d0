"""Where answers and programs are found in responses."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berry.verifiers.extraction import extract
from berry.verifiers.extraction.extract import find_answer
from berry.verifiers.specs.base import DEFAULT_PLACES


def answer(text: str) -> str | None:
    found = find_answer(text, DEFAULT_PLACES)
    return None if found is None else found.answer


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("76", "76"),
        ("some work\n76", "76"),
        ("#### 72", "72"),
        ("<answer>[]</answer>", "[]"),
        ("So nothing is left.\nThe answer is []", "[]"),
        ("Answer: []", "[]"),
        ("The list is \\boxed{[]}", "[]"),
        ("The correct answer is 48 points, and more.\n#### 66", "66"),
        ("The answer is therefore 3.", "3"),
        ("so \\boxed{42}", "42"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\fbox{7}", "7"),
        ("\\boxed 9", "9"),
        ("\\boxed{1} and \\boxed{2}", "1, 2"),
        ("$\\boxed{1}$ or $\\boxed{2}$", "1 or 2"),
        ("The answer is 42.", "42"),
        ("The final answer is: **42**", "42"),
        ("**Answer:** $\\frac{3}{4}$", "$\\frac{3}{4}$"),
        ("Answer: 3.5 because it is so.", "3.5"),
        ("The answer is\n$$x^2$$", "$$x^2$$"),
        ("Therefore x = 5", "x = 5"),
        ("So she has 12 apples left.", "12 apples left"),
        ("so 72", "72"),
        ("It sold 5 of 7 on Monday and 9 later", None),
        ("", None),
        ("   \n \n", None),
        ("\\boxed{", None),
        ("\\boxed{}", None),
    ],
)
def test_the_answer_is_found(response: str, expected: str | None) -> None:
    assert answer(response) == expected


def test_what_is_thought_is_not_the_answer() -> None:
    assert answer("<think>\\boxed{5}</think>The answer is 7") == "7"
    assert answer("<think>maybe \\boxed{5}") is None
    assert answer("<think>\\boxed{5}</think>") is None


@pytest.mark.parametrize(
    "response",
    [
        "<thinking>\\boxed{5}</thinking>The answer is 7",
        "[THINK]5[/THINK] \\boxed{7}",
        "a thought that the prompt began: 5 </think>\n7",
        "<|channel|>analysis<|message|>5<|end|><|start|>assistant<|channel|>final<|message|>The answer is 7.<|return|>",
        "The answer is 7.<|im_end|>\n",
    ],
)
def test_every_model_familys_way_of_thinking_is_left_out(response: str) -> None:
    assert answer(response) == "7"


def test_an_answer_line_after_the_last_box_wins_over_it() -> None:
    text = "\\boxed{x^2}\n\n**Answer: D**"
    assert answer(text) == "D"
    assert find_answer(text, ("boxed",)).answer == "x^2"  # type: ignore[union-attr]
    assert answer("Answer: D\n\n\\boxed{x^2}") == "x^2"


LONG = {
    "spaces after answer": "answer" + " " * 65_000,
    "answers": "answer " * 9_000,
    "answers with brackets": "answer (" * 8_000,
    "answers that are nothing": "answer is\n" * 6_000,
    "answer lines": "Answer:\n" * 8_000,
    "open tags": "<answer>" * 8_000,
    "tags": "<answer></answer>" * 3_800,
    "open boxes": "\\boxed{" * 9_000,
    "boxes": "\\boxed{1} or " * 5_000,
    "a long gap": "\\boxed{1}" + ", " * 30_000 + "\\boxed{2}",
    "dollars": "$" * 65_000,
    "amounts": "$1 " * 20_000,
    "displays": "\\[" * 30_000,
    "double dollars": "$$" * 30_000,
    "clauses": ", so" * 15_000,
    "sentences": "a. " * 20_000,
    "verbs": "is " * 20_000,
    "equalities": "= 1 " * 15_000,
    "brackets": "(" * 65_000,
    "newlines": "answer" + "\n" * 65_000 + "x",
    "thoughts": "<think>\n" * 8_000,
    "closed thoughts": "</think>" * 8_000,
    "channels": "<|channel|>" * 6_000,
    "letters": "x" * 65_000 + "$$",
    "hashes": "####" * 16_000,
    "angles": "<<" * 30_000,
}


@pytest.mark.parametrize("response", LONG.values(), ids=LONG)
def test_extraction_takes_time_linear_in_the_response(response: str) -> None:
    start = time.process_time()
    find_answer(response, DEFAULT_PLACES)
    find_answer(response, ("tag", "boxed", "answer_is", "whole"))
    assert time.process_time() - start < 0.5


MARKS = (
    "answer Answer: $ $$ \\boxed{ } \\[ \\] <answer> </answer> #### 5 12 = not when & x ( ) . D ** <think> </think> ∈ "
    "\\begin{align} \\end{align} <|channel|> <|message|>"
)
SPACED = ("\n", " ", " is ", ", so ", " and ", " or ", " the ", "\\\\", "\ud800", "\x00")
PIECES = st.sampled_from([*MARKS.split(), *SPACED])


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_no_text_makes_extraction_raise_or_find_what_is_not_there(text: str) -> None:
    found = find_answer(text, DEFAULT_PLACES)
    if found is not None:
        assert found.answer.strip()
        assert set("0123456789") & set(found.answer) <= set(text)


STATED = st.sampled_from(
    ["#### ", "####", "The answer is ", "answer is: ", "**Answer: ", "the answer is5", "answer is not "]
)
NUMBERS = st.sampled_from(
    ["18", "-7", "1,234", "12,34", "3.50", "3.", "007", "1,234.", "18..", "18 ", "$18$", "5 or 6"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=8).map("".join), STATED, NUMBERS)
def test_a_plain_last_line_states_what_the_general_rule_finds_in_it(before: str, stated: str, number: str) -> None:
    text = before + stated + number
    assert extract._answer_is(text) == extract._last_statement(text)


def test_distinct_boxes_are_all_told() -> None:
    found = find_answer("\\boxed{4} then \\boxed{5} then \\boxed{4}", DEFAULT_PLACES)
    assert found is not None
    assert (found.answer, found.others) == ("4", ("5",))
    many = find_answer(" then ".join(f"\\boxed{{{i}}}" for i in range(20)), DEFAULT_PLACES)
    assert many is not None
    assert many.too_many


def test_places_are_asked_in_the_given_order() -> None:
    text = "<answer>3</answer> The answer is 4. \\boxed{5}"
    assert [find_answer(text, (place,)).answer for place in ("tag", "answer_is", "boxed")] == ["3", "4", "5"]  # type: ignore[union-attr]
