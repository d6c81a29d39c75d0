"""Makes the request by which a verifier checks a response: the same in a run, in `berry reverify` and in variants.

problem, response ─► check_request ─► with_retry(check) ─► Verdict
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from berry.pipeline.config.sections.rollout.rollout import Thinking
from berry.pipeline.core.steps import answer_part
from berry.pipeline.records import Problem
from berry.verifiers.base import Outcome, Verdict
from berry.verifiers.checker import CheckRequest
from berry.verifiers.kinds.majority import ConsensusRequest

Verifying = Callable[[CheckRequest], Awaitable[Verdict]]
"""The verdict on one response."""
Deciding = Callable[[CheckRequest], Verdict | None]
"""A verdict on the spot; None where it takes a `Verifying`."""
Agreeing = Callable[[ConsensusRequest], Awaitable[dict[str, Verdict]]]
"""Verdicts by majority over all leaves of a problem without a gold answer."""


def check_request(problem: Problem, response: str, thinking: Thinking | None) -> CheckRequest:
    """The request for a response: its answer is checked, without the thinking before it."""
    return CheckRequest(
        problem_id=problem.id,
        spec=problem.verifier,
        response=answer_part(response, thinking),
        prompt=problem.text,
        key=problem.id,
    )


def with_retry(check: Verifying) -> Verifying:
    """A `check` that asks once more where a check could not be made; for one checker, since a cluster's client asks
    another one by itself."""

    async def twice(request: CheckRequest) -> Verdict:
        verdict = await check(request)
        if verdict.outcome is Outcome.UNVERIFIABLE and verdict.reason.retryable:
            verdict = await check(request)
        return verdict

    return twice
