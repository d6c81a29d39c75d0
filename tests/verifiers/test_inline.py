"""Verdicts on the spot: those that a Checker would give, or none."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Reason
from berry.verifiers.checker import CheckRequest
from berry.verifiers.inline import MAX_CHARS, check_inline
from berry.verifiers.specs.union import ExpressionSpec, MajoritySpec, MathSpec, ProgramTestsSpec, Spec

FORTY_TWO = MathSpec(answer="42")
DECIDED: list[tuple[Spec, str, Reason]] = [
    (FORTY_TWO, "so \\boxed{42}.", Reason.CORRECT),
    (FORTY_TWO, "so \\boxed{41}.", Reason.WRONG_ANSWER),
    (FORTY_TWO, "", Reason.NO_ANSWER),
    (FORTY_TWO, "\\boxed{42} or \\boxed{7}? no idea: \\boxed{42}", Reason.CONFLICTING_ANSWERS),
    (MathSpec(answer="???"), "\\boxed{42}", Reason.GOLD_UNPARSABLE),
    (MathSpec(answer="(1, 2)"), "\\boxed{\\{1, 2\\}}", Reason.WRONG_ANSWER),
    (ExpressionSpec(numbers=(1, 2, 3), target=9), "\\boxed{(1 + 2) * 3}", Reason.CORRECT),
    (MajoritySpec(), "\\boxed{42}", Reason.NOT_CHECKED),
]


@pytest.mark.parametrize(("spec", "response", "reason"), DECIDED)
def test_it_is_the_checkers_verdict(check, spec: Spec, response: str, reason: Reason) -> None:
    found = check_inline(CheckRequest("p", spec, response))
    assert found is not None
    assert found.reason is reason
    asked = check(spec, response)
    assert (found.outcome, found.reason, found.answer, found.evidence) == (
        asked.outcome,
        asked.reason,
        asked.answer,
        asked.evidence,
    )


@pytest.mark.parametrize(
    ("spec", "response"),
    [
        (MathSpec(answer="\\sin^2 x + \\cos^2 x"), "\\boxed{1 + 0 \\cdot \\sin x}"),
        (FORTY_TWO, " " * MAX_CHARS + "\\boxed{42}"),
        (ProgramTestsSpec(language="python", tests="assert True"), "```python\nx = 1\n```"),
    ],
    ids=["symbolic", "long", "program"],
)
def test_what_takes_a_tool_is_left_to_the_checker(spec: Spec, response: str) -> None:
    assert check_inline(CheckRequest("p", spec, response)) is None
