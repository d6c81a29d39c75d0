"""The package's own scorers, confined."""

from __future__ import annotations

import json

import pytest

from berry.verifiers.base import Reason
from berry.verifiers.registry import fault
from berry.verifiers.specs.union import ReasoningGymSpec

pytestmark = pytest.mark.slow


def drawn(dataset: str) -> ReasoningGymSpec:
    """A task as a problem file holds it."""
    import reasoning_gym

    entry = reasoning_gym.create_dataset(dataset, seed=1, size=1)[0]
    return ReasoningGymSpec(dataset=dataset, entry=json.loads(json.dumps(entry, default=str)))


@pytest.fixture(scope="module")
def countdown() -> ReasoningGymSpec:
    return drawn("countdown")


def test_scores_decide(check, countdown) -> None:
    answer = countdown.entry["metadata"]["expression"]
    right = check(countdown, f"<answer>{answer}</answer>")
    assert (right.reason, right.evidence["score"]) == (Reason.CORRECT, 1.0)
    assert check(countdown, "<answer>1 + 1</answer>").reason is Reason.WRONG_ANSWER
    assert check(countdown, "").reason is Reason.NO_ANSWER


def test_a_hostile_answer_stays_in_the_jail(check, countdown) -> None:
    for attack in ("__import__('os').system('true')", "9**9**9**9", "\x00", "(" * 5000):
        assert not check(countdown, f"<answer>{attack}</answer>").passed


def test_an_unknown_dataset_is_the_problems_fault(check, countdown) -> None:
    spec = countdown.model_copy(update={"dataset": "no_such_dataset"})
    assert check(spec, "<answer>1</answer>").reason is Reason.TESTS_BROKEN


@pytest.mark.parametrize("dataset", ["calendar_arithmetic", "time_intervals", "rearc", "count_primes"])
def test_dates_and_tuples_outlive_the_problem_file(check, dataset) -> None:
    spec = drawn(dataset)
    right = check(spec, f"<answer>{spec.entry['answer']}</answer>")
    assert (right.reason, right.evidence["score"]) == (Reason.CORRECT, 1.0)
    assert check(spec, "<answer>Nonesuch</answer>").reason is Reason.WRONG_ANSWER


def test_an_entry_whose_own_answer_fails_is_broken_not_the_response_wrong(check) -> None:
    spec = drawn("rearc")
    broken = spec.model_copy(update={"entry": {**spec.entry, "answer": "7 7\n7 7"}})
    found = check(broken, "<answer>1 2</answer>")
    assert found.reason is Reason.TESTS_BROKEN
    assert "rearc" in found.evidence["note"]
    assert "berry import" in found.evidence["note"]
    assert check(broken, f"<answer>{spec.entry['answer']}</answer>").passed
    assert "composite" in (fault(spec.model_copy(update={"dataset": "composite"})) or "")
