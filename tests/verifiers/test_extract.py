"""Where answers and programs are found in responses."""

from __future__ import annotations

import pytest

from berry.verifiers.extract import find_answer, find_code
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


@pytest.mark.parametrize(
    ("response", "code"),
    [
        ("text\n```python\na = 1\n```\nmore\n```\nb = 2\n```\nend", "b = 2\n"),
        ("```python\na = 1\n", "a = 1\n"),
        ("def f(): return 1", "def f(): return 1"),
        ("```python\nx = '''\n```js\n'''\n```", "x = '''\n```js\n'''\n"),
        ("~~~\na\n~~~", "a\n"),
        ("<think>```\nno\n```</think>yes()", "yes()"),
        ("```python\n```", None),
        ("", None),
    ],
)
def test_the_program_is_the_last_fenced_block_else_everything(response: str, code: str | None) -> None:
    assert find_code(response) == code
