"""Stored responses are put to their verifiers as a run puts them."""

from __future__ import annotations

import pytest

from berry.pipeline.config.sections.rollout.rollout import Thinking
from berry.pipeline.records import Problem, Trajectory
from berry.pipeline.stages.checking.question import check_request
from berry.pipeline.stages.dataset.maintenance.revise import reverifier
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.specs.union import MathSpec

PROBLEM = Problem(id="p", prompt="6*7?", verifier=MathSpec(answer="42"))


class Shaky(Checker):
    """The first check of each response can't be made."""

    def __init__(self, reason: Reason) -> None:
        super().__init__()
        self.reason = reason
        self.asked: list[str] = []

    async def check(self, request: CheckRequest) -> Verdict:
        self.asked.append(request.response)
        if self.asked.count(request.response) == 1:
            return verdict(self.reason)
        return await super().check(request)


def trajectory(name: str, response: str) -> Trajectory:
    return Trajectory(name, "p", name, (name,), response, None, n_tokens=1, n_new_tokens=1)


@pytest.mark.parametrize(
    ("reason", "times", "found"),
    [(Reason.SANDBOX_FAULT, 2, Reason.CORRECT), (Reason.TESTS_BROKEN, 1, Reason.TESTS_BROKEN)],
)
async def test_reverify_asks_once_more_where_a_run_would(reason: Reason, times: int, found: Reason) -> None:
    checker = Shaky(reason)
    verdicts = await reverifier(checker)(PROBLEM, [trajectory("a", "\\boxed{42}")], {})
    assert verdicts["a"].reason is found
    assert checker.asked == ["\\boxed{42}"] * times
    await checker.close()


async def test_reverify_reads_the_answer_behind_the_thinking_as_a_run_does() -> None:
    thinking = Thinking(open="<thought>", close="</thought>")
    checker = Checker()
    ask = reverifier(checker, lambda _problem: thinking)
    verdicts = await ask(
        PROBLEM,
        [trajectory("done", "<thought>\\boxed{1}?</thought>\\boxed{42}"), trajectory("open", "<thought>\\boxed{42}")],
        {},
    )
    assert verdicts["done"].reason is Reason.CORRECT
    assert verdicts["open"].reason is Reason.NO_ANSWER
    await checker.close()


def test_a_check_is_given_what_chat_messages_ask() -> None:
    messages = (
        {"role": "system", "content": "Think between <think> and </think>."},
        {"role": "user", "content": "Write f."},
        {"role": "assistant", "content": "With which arguments?"},
        {"role": "user", "content": "One."},
    )
    asked = check_request(PROBLEM.model_copy(update={"prompt": messages}), "", None).prompt
    assert asked == "Write f.\n\nWith which arguments?\n\nOne."
    assert check_request(PROBLEM, "", None).prompt == PROBLEM.prompt
