"""`reasoning_gym`: the package's own scorer for the dataset, run in the jail over the response's answer.

The scorer is the package's code, the answer is the model's: some scorers evaluate it, hence the jail. A score is in
[0, 1]; PASS at the spec's threshold, 1.0 unless the problem says otherwise.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from sandboxes.base import Call, Job, Outcome, SandboxError
from verifiers.base import Reason, Verdict, verdict
from verifiers.extract import find_answer
from verifiers.limits import limits_of, reason_of
from verifiers.maths import bounds
from verifiers.specs import CodeSpec, ReasoningGymSpec

if TYPE_CHECKING:
    from verifiers.tools import CheckRequest, Tools

MAX_CHARS = 20_000
_PROFILE = ("reasoning_gym",)
_SOURCE = """
import reasoning_gym

def known(dataset):
    reasoning_gym.get_score_answer_fn(dataset)
    return True

def score(dataset, answer, entry):
    return float(reasoning_gym.get_score_answer_fn(dataset)(answer, entry))
"""


async def verify(request: CheckRequest, tools: Tools) -> Verdict:
    spec = request.spec
    assert isinstance(spec, ReasoningGymSpec)
    found = find_answer(request.response, spec.extract)
    if found is None:
        return verdict(Reason.NO_ANSWER)
    if found.others:
        return verdict(Reason.CONFLICTING_ANSWERS, answer=found.answer, others=found.others[0])
    if len(found.answer) > MAX_CHARS:
        return verdict(Reason.ANSWER_TOO_LARGE, answer=found.answer)
    fault = bounds.fault(found.answer) if len(found.answer) <= bounds.MAX_CHARS else None
    if fault is not None and fault in (bounds.Fault.CONTROL, bounds.Fault.BIDI, bounds.Fault.TOO_MANY_DIGITS):
        reason = Reason.ANSWER_TOO_LARGE if fault.too_large else Reason.UNPARSABLE_ANSWER
        return verdict(reason, answer=found.answer, note=str(fault))
    if importlib.util.find_spec("reasoning_gym") is None:
        return verdict(Reason.MISSING_TOOL, note="the package reasoning-gym is not installed")
    job = Job(
        source=_SOURCE,
        entry_point="score",
        calls=(Call((spec.dataset, found.answer, spec.entry)),),
        profile=_PROFILE,
        limits=limits_of(CodeSpec(), tools.config),
        key=request.key or request.problem_id,
    )
    try:
        result = await tools.pool.run(job)
    except SandboxError as error:
        return verdict(Reason.MISSING_TOOL, note=str(error))
    if result.outcome is not Outcome.OK:
        reason = reason_of(result.outcome)
        if result.outcome in (Outcome.CPU_LIMIT, Outcome.WALL_LIMIT, Outcome.MEMORY_LIMIT):
            reason = Reason.CHECK_TIMEOUT
        elif not reason.retryable:
            reason = Reason.TESTS_BROKEN  # the scorer raised: no statement about the answer
        return verdict(reason, answer=found.answer, note=result.error)
    score = result.cases[0].value
    reason = Reason.CORRECT if score >= spec.threshold else Reason.WRONG_ANSWER
    return verdict(reason, answer=found.answer, score=score, expected=spec.entry.get("answer"))
