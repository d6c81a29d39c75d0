"""`math` from response to verdict."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.specs.union import MathSpec, Strictness


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("The answer is 42.", Reason.CORRECT),
        ("\\boxed{41} … no, \\boxed{42}", Reason.CONFLICTING_ANSWERS),
        ("\\boxed{42} or rather \\boxed{41}", Reason.CONFLICTING_ANSWERS),
        ("\\boxed{42}, that is \\boxed{42.0}", Reason.CORRECT),
        ("\\boxed{5 or 42}", Reason.HEDGED),
        ("either 42 or 43", Reason.HEDGED),
        ("", Reason.NO_ANSWER),
        (" \n\t\n", Reason.NO_ANSWER),
        ("\\boxed{" + "9" * 100_000 + "}", Reason.ANSWER_TOO_LARGE),
        ("\\boxed{" + "9" * 50_000 + "}", Reason.ANSWER_TOO_LARGE),
        ("1" * 2_000_000, Reason.ANSWER_TOO_LARGE),
        ("\\boxed{4\x002}", Reason.UNPARSABLE_ANSWER),
        ("\\boxed{\u202e24\u202c}", Reason.UNPARSABLE_ANSWER),
        ("\\boxed{٤٢}", Reason.CORRECT),
        ("\\boxed{\\frac{84}{}", Reason.UNPARSABLE_ANSWER),
        ("```python\nprint(42)\n```", Reason.NO_ANSWER),
        ("def f():\n    return 42", Reason.NO_ANSWER),
        ("\\boxed{print(42)}", Reason.WRONG_ANSWER),
        ("\\boxed{__import__('os')}", Reason.WRONG_ANSWER),
        ("\\boxed{9^{9^{9^9}}}", Reason.ANSWER_TOO_LARGE),
        ("\ud800 42 \udfff", Reason.UNPARSABLE_ANSWER),
    ],
    ids=lambda value: str(value)[:20].encode("ascii", "replace").decode(),
)
def test_every_kind_of_bad_answer_has_a_reason_of_its_own(check, response, reason) -> None:
    verdict = check(MathSpec(answer="42"), response)
    assert verdict.reason is reason
    assert verdict.outcome is reason.outcome
    assert len(str(verdict.answer)) < 1000


def test_a_gold_that_cannot_be_read_is_unverifiable_even_for_itself(check) -> None:
    verdict = check(MathSpec(answer="\\frac{1}{"), "\\boxed{\\frac{1}{}")
    assert (verdict.outcome, verdict.reason) == (Outcome.UNVERIFIABLE, Reason.GOLD_UNPARSABLE)


def test_strictness_and_places_are_the_problems_choice(check) -> None:
    lenient = MathSpec(answer="50", strictness=Strictness(percent="optional"))
    assert not check(MathSpec(answer="50"), "\\boxed{50\\%}").passed
    assert check(lenient, "\\boxed{50\\%}").passed
    tagged = MathSpec(answer="3", extract=("tag",))
    assert check(tagged, "<answer>3</answer> The answer is 4").passed
    assert check(tagged, "The answer is 3").reason is Reason.NO_ANSWER


def test_the_checkers_strictness_holds_where_the_problem_is_silent() -> None:
    from berry.verifiers.context import CheckRequest
    from berry.verifiers.inline import check_inline
    from berry.verifiers.specs.base import LENIENT

    silent = CheckRequest("p", MathSpec(answer="50"), "\\boxed{50\\%}")
    own = CheckRequest("p", MathSpec.model_validate({"answer": "50", "strictness": "strict"}), "\\boxed{50\\%}")
    assert not check_inline(silent).passed  # type: ignore[union-attr]
    assert check_inline(silent, LENIENT).passed  # type: ignore[union-attr]
    assert not check_inline(own, LENIENT).passed  # type: ignore[union-attr]


def test_an_unknown_preset_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match='no preset \'loose\': write "strict", "lenient", or single settings'):
        MathSpec.model_validate({"answer": "1", "strictness": "loose"})


def test_boxes_that_stand_apart_may_together_be_a_list(check) -> None:
    text = "One is $\\boxed{1331}$. After the same steps, the other is $\\boxed{1728}$."
    assert check(MathSpec(answer="1331 and 1728"), text).passed
    assert check(MathSpec(answer="1728"), text).reason is Reason.CONFLICTING_ANSWERS
    assert check(MathSpec.model_validate({"answer": "1728", "strictness": "lenient"}), text).passed
    assert not check(MathSpec(answer="1331, 1728, 5"), text).passed


def test_a_verdict_says_what_it_saw(check) -> None:
    verdict = check(MathSpec(answer="42"), "so the answer is 41.")
    assert verdict.answer == "41"
    assert verdict.evidence["expected"] == "42"
    assert verdict.verify_ms > 0
