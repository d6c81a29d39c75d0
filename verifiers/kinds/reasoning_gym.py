"""Scores the response's answer with reasoning-gym's own scorer for the data set, in the sandbox (`reasoning_gym`).

The scorer is the package's code, the answer is the model's: some scorers evaluate it, hence the jail. A score is in
[0, 1]; PASS at the spec's threshold, 1.0 unless the problem says otherwise.

Problem files are JSON, which has no tuples; what scorers compare as tuples is made into them again. The entry's own
answer is scored beside the response's: where it does not reach the threshold, or the scorer raises over it, the entry
is broken and nothing is said of the response; where it does, an answer that the scorer raises over is a wrong one.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from berry.sandboxes.base import Call, Job, JobResult, Outcome, SandboxError
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extract import find_answer
from berry.verifiers.maths import bounds
from berry.verifiers.sandbox_limits import limits_of, reason_of
from berry.verifiers.specs.union import CodeSpec, ReasoningGymSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

MAX_CHARS = 20_000
_PROFILE = ("reasoning_gym",)
_SOURCE = """
import reasoning_gym

TUPLES = {"arc_agi": ("input", "output"), "rearc": ("input", "output")}

def score(dataset, answer, entry):
    for name in TUPLES.get(dataset, ()):
        entry["metadata"][name] = tuples(entry["metadata"][name])
    return float(reasoning_gym.get_score_answer_fn(dataset)(answer, entry))

def tuples(value):
    return tuple(map(tuples, value)) if isinstance(value, list) else value
"""


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Scores the response's answer with the data set's own scorer, in the sandbox."""
    spec = request.spec
    assert isinstance(spec, ReasoningGymSpec)
    found = find_answer(request.response, spec.extract)
    if found is None:
        return verdict(Reason.NO_ANSWER)
    if found.others:
        return verdict(Reason.CONFLICTING_ANSWERS, answer=found.answer, others=found.others[0])
    if len(found.answer) > MAX_CHARS:
        return verdict(Reason.ANSWER_TOO_LARGE, answer=found.answer)
    limit = bounds.fault(found.answer) if len(found.answer) <= bounds.MAX_CHARS else None
    if limit is not None and limit in (bounds.Fault.CONTROL, bounds.Fault.BIDI, bounds.Fault.TOO_MANY_DIGITS):
        reason = Reason.ANSWER_TOO_LARGE if limit.too_large else Reason.UNPARSABLE_ANSWER
        return verdict(reason, answer=found.answer, note=str(limit))
    if importlib.util.find_spec("reasoning_gym") is None:
        return verdict(Reason.MISSING_TOOL, note="the package reasoning-gym is not installed")
    gold = spec.entry.get("answer")
    scored = [gold, found.answer] if isinstance(gold, str) else [found.answer]
    job = Job(
        source=_SOURCE,
        entry_point="score",
        calls=tuple(Call((spec.dataset, answer, spec.entry)) for answer in scored),
        profile=_PROFILE,
        limits=limits_of(CodeSpec(), context.config),
        key=request.key or request.problem_id,
    )
    try:
        result = await context.pool.run(job)
    except SandboxError as error:
        return verdict(Reason.MISSING_TOOL, note=str(error))
    return _of_scores(spec, found.answer, result)


def fault(spec: ReasoningGymSpec) -> str | None:
    """Why the entry can't be scored: the data set has no scorer, or the entry lacks a field. None when it can."""
    if spec.dataset == "composite":
        return "reasoning-gym's composite has no scorer of its own: name the dataset that the entry came from"
    missing = [key for key in ("question", "answer", "metadata") if key not in spec.entry]
    return f"entry lacks {', '.join(missing)}" if missing else None


def _of_scores(spec: ReasoningGymSpec, answer: str, result: JobResult) -> Verdict:
    """From the scores of the entry's own answer, if it has one, and of the response's."""
    gold = result.cases[0] if len(result.cases) > 1 else None
    gold_stands = gold is not None and gold.outcome is Outcome.OK and gold.value >= spec.threshold
    last = result.cases[-1] if result.cases else None
    if last is not None and last.outcome is Outcome.OK and last.value >= spec.threshold:
        return verdict(Reason.CORRECT, answer=answer, score=last.value, expected=spec.entry.get("answer"))
    if gold is not None and gold.outcome is Outcome.OK and not gold_stands:
        return verdict(Reason.TESTS_BROKEN, answer=answer, note=_broken(spec, gold.value))
    if gold_stands and last is not None and last.outcome is Outcome.RUNTIME_ERROR:
        return verdict(Reason.UNPARSABLE_ANSWER, answer=answer, note=last.error, expected=spec.entry.get("answer"))
    if result.outcome is not Outcome.OK or last is None:
        reason = reason_of(result.outcome)
        if result.outcome in (Outcome.CPU_LIMIT, Outcome.WALL_LIMIT, Outcome.MEMORY_LIMIT):
            reason = Reason.CHECK_TIMEOUT
        elif not reason.retryable:
            reason = Reason.TESTS_BROKEN  # the scorer raised: no statement about the answer
        return verdict(reason, answer=answer, note=result.error)
    return verdict(Reason.WRONG_ANSWER, answer=answer, score=last.value, expected=spec.entry.get("answer"))


def _broken(spec: ReasoningGymSpec, score: float) -> str:
    return (
        f"reasoning-gym's scorer for {spec.dataset} gives the entry's own answer {score:g}, below {spec.threshold:g}: "
        f"draw the task again with `berry import reasoning_gym {spec.dataset}`, or lower the threshold"
    )
