"""A choice among options: how people and models name them, and what names none."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.registry import fault
from berry.verifiers.specs.answers import ChoiceSpec

CITIES = {"A": "London", "B": "Paris", "C": "New York"}


async def check(response: str, answer: object = "B", options: dict[str, str] | None = None):
    spec = ChoiceSpec.model_validate({"answer": answer, "options": CITIES if options is None else options})
    return await Checker(CheckerConfig(slots=1)).check(CheckRequest("p", spec, response))


@pytest.mark.parametrize(
    "response",
    [
        "**Answer: (B)**", "The answer is B.", "The correct answer is option B.", r"\boxed{B}", r"\boxed{\text{B}}",
        r"\boxed{\text{(B)}}", "<answer>B</answer>", "Answer: B. Paris", "Answer: B) Paris", "Answer: Paris",
        "I think the answer is B: Paris", "Answer: b", "Rome falls out.\nAnswer: [B]",
    ],
)  # fmt: skip
async def test_the_right_option_in_every_dress(response) -> None:
    assert (await check(response)).reason is Reason.CORRECT


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("Answer: A", Reason.WRONG_ANSWER),
        ("Answer: B and C", Reason.WRONG_ANSWER),
        ("Answer: A. Paris", Reason.UNPARSABLE_ANSWER),
        ("Answer: Berlin", Reason.UNPARSABLE_ANSWER),
        (r"It is \boxed{B}. No: \boxed{A}", Reason.CONFLICTING_ANSWERS),
        ("", Reason.NO_ANSWER),
    ],
)
async def test_what_does_not_name_it_alone_fails(response, reason) -> None:
    verdict = await check(response)
    assert verdict.reason is reason
    assert verdict.outcome is Outcome.FAIL


@pytest.mark.parametrize("response", ["Answer: A and C", "Answer: C, A", r"\boxed{AC}", "Answer: London; New York"])
async def test_several_are_named_exactly(response) -> None:
    assert (await check(response, ["A", "C"])).passed
    assert not (await check(response, ["A", "B", "C"])).passed
    assert not (await check(response, "A")).passed


async def test_words_can_be_options_and_letters_need_no_texts() -> None:
    words = {"yes": "", "no": "", "can't tell": ""}
    assert (await check("Answer: No.", "no", words)).passed
    assert (await check("The answer is can't tell", "can't tell", words)).passed
    assert (await check("Answer: D", "D", {})).passed
    assert not (await check("Answer: a number", "A", {})).passed


def test_an_answer_that_is_no_option_is_refused() -> None:
    assert "names none of the options A, B, C" in (fault(ChoiceSpec(answer="E", options=CITIES)) or "")
    assert fault(ChoiceSpec(answer=("A", "Paris"), options=CITIES)) is None
