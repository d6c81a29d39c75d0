"""The package's own scorers, confined."""

from __future__ import annotations

import json

import pytest

from verifiers.base import Reason
from verifiers.specs import ReasoningGymSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def countdown() -> ReasoningGymSpec:
    import reasoning_gym

    entry = reasoning_gym.create_dataset("countdown", seed=1, size=1)[0]
    return ReasoningGymSpec(dataset="countdown", entry=json.loads(json.dumps(entry, default=str)))


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
