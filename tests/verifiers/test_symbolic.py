"""The symbolic rung in its confined worker."""

from __future__ import annotations

import time

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.specs.base import Strictness
from berry.verifiers.specs.union import MathSpec

EVALUATED = Strictness(unevaluated="allowed")
HANGS = "\\int_0^{\\infty} \\frac{\\sin(x^3+x)}{x^{5}+\\sqrt{x^3+1}} dx"


@pytest.mark.parametrize(
    ("gold", "response", "reason"),
    [
        ("1", "\\sin^2 x+\\cos^2 x", Reason.CORRECT),
        ("\\sin x", "\\cos x", Reason.WRONG_ANSWER),
        ("2i", "(1+i)^2", Reason.CORRECT),
        ("55", "\\sum_{k=1}^{10} k", Reason.CORRECT),
        ("1", "\\heartsuit @", Reason.UNPARSABLE_ANSWER),
        ("\\xrightarrow{f} 3", "1", Reason.GOLD_UNPARSABLE),
    ],
)
def test_what_the_cheap_rungs_leave_open_is_decided_in_the_worker(check, gold, response, reason) -> None:
    verdict = check(MathSpec(answer=gold, strictness=EVALUATED), f"\\boxed{{{response}}}")
    assert (verdict.reason, verdict.evidence["rung"]) == (reason, "symbolic")


@pytest.mark.slow
def test_sympy_that_hangs_is_killed_from_outside_and_others_go_on(check_all, warm) -> None:
    before = warm[1].metrics()["symbolic_restarts"]
    start = time.monotonic()
    hung, honest, other = check_all(
        [
            (MathSpec(answer="42", strictness=EVALUATED), f"\\boxed{{{HANGS}}}"),
            (MathSpec(answer="42"), "\\boxed{42}"),
            (MathSpec(answer="1", strictness=EVALUATED), "\\boxed{\\sin^2 x+\\cos^2 x}"),
        ]
    )
    assert (hung.outcome, hung.reason) == (Outcome.UNVERIFIABLE, Reason.CHECK_TIMEOUT)
    assert honest.passed
    assert other.passed
    assert warm[1].metrics()["symbolic_restarts"] == before + 1
    assert time.monotonic() - start < 60
