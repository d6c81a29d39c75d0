"""Scores the response's answer with reasoning-gym's own scorer for the data set, in the sandbox (`reasoning_gym`).

A score is in [0, 1]; PASS at the spec's threshold, 1.0 unless the problem says otherwise. The scorer is the package's
code, the answer is the model's: answers are never evaluated (`gym_scorer`), and the sandbox holds what goes wrong.

Before an entry's first answer, its scorer is asked about junk: `nan`, `0`, `banana`, the question itself. One that pays
for any of it is not trusted, and the entry's responses are UNVERIFIABLE (docs/verifiers.md lists the data sets).

The entry's own answer is scored beside the response's: where it does not reach the threshold, or the scorer raises over
it, the entry is broken and nothing is said of the response; where it does, an answer that the scorer raises over is a
wrong one, as is one that it takes too long over.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from berry.sandboxes.base import Call, Job, JobOutcome, JobResult, SandboxError
from berry.verifiers.base import Outcome, Reason, Verdict, truncate, verdict
from berry.verifiers.extraction.extract import FoundAnswer, find_answer
from berry.verifiers.maths import bounds
from berry.verifiers.sandbox_limits import limits_of, reason_of
from berry.verifiers.specs.union import CodeSpec, ReasoningGymSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

MAX_CHARS = 20_000
_PROFILE = ("reasoning_gym",)
_SOURCE = Path(__file__).with_name("gym_scorer.py").read_text(encoding="utf-8")
_JUNK = ("nan", "0", "banana")
MAX_REMEMBERED = 4096
_TOO_MUCH = (JobOutcome.CPU_LIMIT, JobOutcome.WALL_LIMIT, JobOutcome.MEMORY_LIMIT)


class _Controls(NamedTuple):
    """What an entry's scorer said of junk: the answer that it pays, if any, and whether it scored some without
    raising."""

    paid: str | None
    scores: bool


_controls: dict[bytes, _Controls] = {}
"""By entry."""


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Scores the response's answer with the data set's own scorer, in the sandbox."""
    spec = request.spec
    assert isinstance(spec, ReasoningGymSpec)
    found = find_answer(request.response, spec.extract)
    if found is None:
        return verdict(Reason.NO_ANSWER)
    if found.others:
        return verdict(Reason.CONFLICTING_ANSWERS, answer=found.answer, others=found.others[0])
    answers = readings(found, spec.entry.get("answer"))
    if (refused := _refused(answers[0])) is not None:
        return refused
    if importlib.util.find_spec("reasoning_gym") is None:
        return verdict(Reason.MISSING_TOOL, note="the package reasoning-gym is not installed")
    paid = await _pays_junk(spec, request, context)
    if paid is not None:
        return replace(paid, answer=truncate(answers[0]))
    first = await _scored(spec, answers[0], request, context)
    if first.outcome is not Outcome.FAIL or len(answers) == 1 or _refused(answers[1]) is not None:
        return first
    second = await _scored(spec, answers[1], request, context)
    return second if second.passed else first


def readings(found: FoundAnswer, gold: Any) -> list[str]:
    """The answer as the scorer may want it: one or two, as the response says it once.

    A tag holds all of it. Behind "the answer is" it is all that follows where the gold has several lines; else the
    line as it stands, closing punctuation included, or what it states.
    """
    if found.place == "tag" or not (found.stated or found.following):
        return [found.verbatim]
    if found.following is not None and isinstance(gold, str) and "\n" in gold.strip():
        return [found.following]
    return list(dict.fromkeys([found.stated or found.answer, found.answer]))


def _refused(answer: str) -> Verdict | None:
    """The verdict on an answer that is not put to a scorer; None on one that is."""
    if len(answer) > MAX_CHARS:
        return verdict(Reason.ANSWER_TOO_LARGE, answer=answer)
    limit = bounds.fault(answer) if len(answer) <= bounds.MAX_CHARS else None
    if limit is not None and limit in (
        bounds.TextFault.CONTROL,
        bounds.TextFault.BIDI,
        bounds.TextFault.TOO_MANY_DIGITS,
    ):
        reason = Reason.ANSWER_TOO_LARGE if limit.too_large else Reason.UNPARSABLE_ANSWER
        return verdict(reason, answer=answer, note=str(limit))
    return None


async def _scored(spec: ReasoningGymSpec, answer: str, request: CheckRequest, context: VerifierContext) -> Verdict:
    """The verdict by the scorer's number for `answer`, beside that for the entry's own."""
    gold = spec.entry.get("answer")
    try:
        result = await context.pool.run(
            _job(spec, [gold, answer] if isinstance(gold, str) else [answer], request, context)
        )
    except SandboxError as error:
        return verdict(Reason.MISSING_TOOL, note=str(error))
    controls = _controls.get(_digest(spec))
    return _of_scores(spec, answer, result, scores=controls is not None and controls.scores)


def fault(spec: ReasoningGymSpec) -> str | None:
    """Why the entry can't be scored: the data set has no scorer, or the entry lacks a field. None when it can."""
    if spec.dataset == "composite":
        return "reasoning-gym's composite has no scorer of its own: name the dataset that the entry came from"
    missing = [key for key in ("question", "answer", "metadata") if key not in spec.entry]
    return f"entry lacks {', '.join(missing)}" if missing else None


def junk(spec: ReasoningGymSpec) -> list[str]:
    """Answers that no scorer may pay for this entry: nonsense and the question itself, less what is the gold answer."""
    gold = spec.entry.get("answer")
    return [text for text in (*_JUNK, spec.entry["question"]) if not _same(text, gold)]


def _same(text: str, gold: Any) -> bool:
    if not isinstance(gold, str):
        return False
    try:
        return float(text) == float(gold)
    except ValueError:
        return text.strip().casefold() == gold.strip().casefold()


async def _pays_junk(spec: ReasoningGymSpec, request: CheckRequest, context: VerifierContext) -> Verdict | None:
    """The verdict where the scorer pays for junk, so that nothing it says of this entry means anything; else None."""
    key = _digest(spec)
    if key not in _controls:
        answers = junk(spec)
        try:
            result = await context.pool.run(_job(spec, answers, request, context))
        except SandboxError as error:
            return verdict(Reason.MISSING_TOOL, note=str(error))
        if not result.cases and result.outcome is not JobOutcome.OK and reason_of(result.outcome).retryable:
            return verdict(reason_of(result.outcome), note=result.error)
        cases = zip(answers, result.cases, strict=False)
        paid = next((a for a, c in cases if c.outcome is JobOutcome.OK and c.value >= spec.threshold), None)
        while len(_controls) >= MAX_REMEMBERED:
            _controls.pop(next(iter(_controls)))
        _controls[key] = _Controls(paid, any(case.outcome is JobOutcome.OK for case in result.cases))
    if (paid := _controls[key].paid) is None:
        return None
    note = f"reasoning-gym's scorer for {spec.dataset} pays {paid[:60]!r}: what it says of an answer means nothing"
    return verdict(Reason.TESTS_BROKEN, note=note)


def _digest(spec: ReasoningGymSpec) -> bytes:
    text = json.dumps([spec.dataset, spec.threshold, spec.entry], sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def _job(spec: ReasoningGymSpec, answers: list[str], request: CheckRequest, context: VerifierContext) -> Job:
    return Job(
        source=_SOURCE,
        entry_point="score",
        calls=tuple(Call((spec.dataset, answer, spec.entry)) for answer in answers),
        profile=_PROFILE,
        limits=limits_of(CodeSpec(), context.config),
        key=request.key or request.problem_id,
    )


def _of_scores(spec: ReasoningGymSpec, answer: str, result: JobResult, *, scores: bool) -> Verdict:
    """From the scores of the entry's own answer, if it has one, and of the response's. `scores`: the scorer has scored
    some junk; where the entry has no answer of its own, that shows that the scorer works."""
    gold = result.cases[0] if len(result.cases) > 1 else None
    gold_stands = gold is not None and gold.outcome is JobOutcome.OK and gold.value >= spec.threshold
    last = result.cases[-1] if result.cases else None
    if last is not None and last.outcome is JobOutcome.OK and last.value >= spec.threshold:
        return verdict(Reason.CORRECT, answer=answer, score=last.value, expected=spec.entry.get("answer"))
    if gold is not None and gold.outcome is JobOutcome.OK and not gold_stands:
        return verdict(Reason.TESTS_BROKEN, answer=answer, note=_broken(spec, gold.value))
    gold_stands = gold_stands or (gold is None and scores)
    if gold_stands and last is not None and last.outcome in _TOO_MUCH:
        return verdict(reason_of(last.outcome), answer=answer, note="the scorer can't get through this answer")
    if gold_stands and last is not None and last.outcome is JobOutcome.RUNTIME_ERROR:
        return verdict(Reason.UNPARSABLE_ANSWER, answer=answer, note=last.error, expected=spec.entry.get("answer"))
    if result.outcome is not JobOutcome.OK or last is None:
        reason = reason_of(result.outcome)
        if result.outcome in _TOO_MUCH:
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
