"""How a leaf's response is put to a verifier: the same question in a run, in `berry reverify` and in variants.

problem, response ─► question ─► asked_again(check) ─► Verdict
"""

from __future__ import annotations

from pipeline.config.rollout import Thinking
from pipeline.core.steps import answer_part
from pipeline.records import Problem
from pipeline.stages.ports import Verifying
from verifiers.base import Outcome, Verdict
from verifiers.checker import CheckRequest


def question(problem: Problem, response: str, thinking: Thinking | None) -> CheckRequest:
    """What is checked is the answer, without the thinking before it."""
    return CheckRequest(
        problem_id=problem.id,
        spec=problem.verifier,
        response=answer_part(response, thinking),
        prompt=problem.prompt if isinstance(problem.prompt, str) else "",
        key=problem.id,
    )


def asked_again(check: Verifying) -> Verifying:
    """`check`, asked once more where it could not be made; for one checker, since a cluster's client asks elsewhere."""

    async def twice(request: CheckRequest) -> Verdict:
        verdict = await check(request)
        if verdict.outcome is Outcome.UNVERIFIABLE and verdict.reason.retryable:
            verdict = await check(request)
        return verdict

    return twice
