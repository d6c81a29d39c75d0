"""Verdicts out of verdicts."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Outcome, Reason, verdict
from berry.verifiers.kinds.combine import all_of, any_of, weighted
from berry.verifiers.specs.union import AllOfSpec, AnyOfSpec, MathSpec, Weighted, WeightedSpec

P, F, U = (verdict(r) for r in (Reason.CORRECT, Reason.WRONG_ANSWER, Reason.CHECK_TIMEOUT))


@pytest.mark.parametrize(
    ("parts", "every", "some"),
    [((P, P), P, P), ((P, F), F, P), ((F, F), F, F), ((P, U), U, P), ((F, U), F, U), ((U, U), U, U)],
)
def test_an_open_part_decides_only_where_it_could_change_the_outcome(parts, every, some) -> None:
    assert all_of(parts).outcome is every.outcome
    assert any_of(parts).outcome is some.outcome
    assert all_of(tuple(reversed(parts))).outcome is every.outcome


@pytest.mark.parametrize(
    ("parts", "weights", "outcome"),
    [
        ((P, F), (2, 1), Outcome.PASS),
        ((P, F), (1, 2), Outcome.FAIL),
        ((P, F, U), (1, 1, 1), Outcome.UNVERIFIABLE),
        ((P, P, U), (1, 1, 1), Outcome.PASS),
        ((F, F, U), (1, 1, 1), Outcome.FAIL),
    ],
)
def test_weighted(parts, weights, outcome) -> None:
    whole = weighted(parts, weights, 0.6)
    assert whole.outcome is outcome
    assert whole.reason.outcome is outcome


def test_parts_are_checked_by_the_checker(check) -> None:
    six, three = MathSpec(answer="6"), MathSpec(answer="3")
    assert check(AnyOfSpec(parts=(three, six)), "6").passed
    failed = check(AllOfSpec(parts=(three, six)), "6")
    assert failed.reason is Reason.WRONG_ANSWER
    assert failed.evidence["parts"] == ["wrong_answer", "correct"]
    whole = WeightedSpec(parts=(Weighted(weight=3, verifier=six), Weighted(weight=1, verifier=three)), threshold=0.7)
    assert check(whole, "6").evidence["score"] == 0.75
