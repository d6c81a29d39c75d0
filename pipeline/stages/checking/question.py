"""How a leaf's response is put to a verifier: the same question in a run, in `berry reverify` and in variants.

problem, response ─► question ─► asked_again(check) ─► Verdict
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from berry.pipeline.config.rollout import Thinking
from berry.pipeline.core.steps import answer_part
from berry.pipeline.records import Problem
from berry.verifiers.base import Outcome, Verdict
from berry.verifiers.checker import CheckRequest
from berry.verifiers.kinds.majority import ConsensusRequest


def check_request(problem: Problem, response: str, thinking: Thinking | None) -> CheckRequest:
    """What is checked is the answer, without the thinking before it."""
    return CheckRequest(
        problem_id=problem.id,
        spec=problem.verifier,
        response=answer_part(response, thinking),
        prompt=problem.prompt if isinstance(problem.prompt, str) else "",
        key=problem.id,
    )


def with_retry(check: Verifying) -> Verifying:
    """`check`, asked once more where it could not be made; for one checker, since a cluster's client asks elsewhere."""

    async def twice(request: CheckRequest) -> Verdict:
        verdict = await check(request)
        if verdict.outcome is Outcome.UNVERIFIABLE and verdict.reason.retryable:
            verdict = await check(request)
        return verdict

    return twice


Verifying = Callable[[CheckRequest], Awaitable[Verdict]]


Deciding = Callable[[CheckRequest], Verdict | None]
"""A verdict on the spot; None where it takes a `Verifying`."""


Agreeing = Callable[[ConsensusRequest], Awaitable[dict[str, Verdict]]]
"""Verdicts by majority over all leaves of a problem without a gold answer."""
