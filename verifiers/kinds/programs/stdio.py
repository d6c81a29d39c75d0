"""Runs the response as a program and compares what it prints for each case's input (`stdio`).

Cases run in batches, so that a wrong program doesn't run them all. A `checker` program of the problem decides where
many outputs are right: it runs in the sandbox too, with the output as plain data, and must answer exactly True. Where
it fails over an output but not over the expected one, that is the output's doing and the response is wrong.

Numbers ("floats"): whole numbers are compared exactly, whatever their length; where one side is a float, within
`tolerance`, absolute below 1 and relative above; a float in place of a whole number must round to it besides;
infinities and NaN match only themselves.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from berry.sandboxes.base import Call, CaseResult, Job, JobOutcome
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extraction.code_blocks import find_program
from berry.verifiers.sandbox_limits import error_output, limits_of, reason_of
from berry.verifiers.sources import defined, python_fault
from berry.verifiers.specs.code import StdioCase, StdioSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

FIRST_BATCH, BATCH = 2, 16
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INFINITE = re.compile(r"([+-]?)inf(?:inity)?", re.IGNORECASE)
_NAN = re.compile(r"[+-]?nan", re.IGNORECASE)


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Runs the response's program on every case's input and compares what it prints."""
    spec = request.spec
    assert isinstance(spec, StdioSpec)
    code = find_program(request.response, spec.language)
    if code is None:
        return verdict(Reason.NO_CODE)
    if (problem := contradiction(spec)) is not None:
        return verdict(Reason.TESTS_BROKEN, note=problem)
    done = 0
    while done < len(spec.cases):
        batch = spec.cases[done : done + (BATCH if done else FIRST_BATCH)]
        job = Job(
            source=code,
            language=spec.language,
            stdin=tuple(case.stdin for case in batch),
            limits=limits_of(spec, context.config),
            key=request.key or request.problem_id,
        )
        result = await context.pool.run(job)
        if not result.cases and result.outcome is not JobOutcome.OK:
            return verdict(reason_of(result.outcome), note=result.error)
        outputs = [case.stdout.decode("utf-8", "replace") for case in result.cases]
        for number, (case, got, output) in enumerate(zip(batch, result.cases, outputs, strict=True), done):
            shown = {"case": number, "input": case.stdin, "expected": case.stdout}
            if got.outcome is not JobOutcome.OK:
                return verdict(reason_of(got.outcome), got=output, note=_note(got), **shown)
            if spec.compare != "checker" and not same_output(spec, case.stdout, output):
                return verdict(Reason.WRONG_ANSWER, got=output, **shown)
        if spec.checker is not None:
            found = await _checked(spec, spec.checker, batch, outputs, done, request, context)
            if found is not None:
                return found
        done += len(batch)
    return verdict(Reason.CORRECT, cases=len(spec.cases))


def same_output(spec: StdioSpec, expected: str, got: str) -> bool:
    """Whether printed text is what was expected, by the spec's way of comparing."""
    if spec.compare == "lines":
        return _lines(expected) == _lines(got)
    a, b = expected.split(), got.split()
    if spec.compare == "tokens":
        return a == b
    return len(a) == len(b) and all(_same_token(x, y, spec.tolerance) for x, y in zip(a, b, strict=True))


def fault(spec: StdioSpec) -> str | None:
    """Why the cases can pass nobody, or the checker program can't be run; None when neither is so."""
    if spec.checker is None:
        return contradiction(spec)
    found = python_fault(spec.checker, "checker")
    if found is None and "check" not in defined(spec.checker):
        found = "checker does not define check(stdin, expected, output)"
    return found


def contradiction(spec: StdioSpec) -> str | None:
    """Two cases with the same input and different outputs, where the comparison is one-valued."""
    if spec.compare == "checker":
        return None
    seen: dict[str, str] = {}
    for number, case in enumerate(spec.cases):
        if case.stdin in seen and not same_output(spec, seen[case.stdin], case.stdout):
            return f"cases contradict each other: case {number} expects something else for the same input"
        seen.setdefault(case.stdin, case.stdout)
    return None


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _same_token(a: str, b: str, tolerance: float) -> bool:
    if a == b:
        return True
    if _INTEGER.fullmatch(a) and _INTEGER.fullmatch(b):
        return _digits(a) == _digits(b)
    if (sign := _INFINITE.fullmatch(a)) and (other := _INFINITE.fullmatch(b)):
        return (sign[1] == "-") == (other[1] == "-")
    if _NAN.fullmatch(a) and _NAN.fullmatch(b):
        return True
    if not _NUMBER.fullmatch(a) or not _NUMBER.fullmatch(b):
        return False
    x, y = float(a), float(b)
    near = math.isfinite(x) and math.isfinite(y) and abs(x - y) <= tolerance * max(1.0, abs(x))
    return near and (_INTEGER.fullmatch(a) is None or _rounds_to(b, a))


def _rounds_to(number: str, whole: str) -> bool:
    try:
        return Decimal(number).to_integral_value() == Decimal(whole)
    except ArithmeticError:  # an exponent that Decimal can't hold
        return False


def _digits(text: str) -> str:
    """A whole number of any length in one spelling: 007, +7 and 7 are the same."""
    digits = text.lstrip("+-").lstrip("0") or "0"
    return f"-{digits}" if text.startswith("-") and digits != "0" else digits


async def _checked(
    spec: StdioSpec,
    checker: str,
    batch: tuple[StdioCase, ...],
    outputs: list[str],
    first: int,
    request: CheckRequest,
    context: VerifierContext,
) -> Verdict | None:
    """The problem's own checker over one batch; None when it accepts all of it."""
    calls = tuple(Call((case.stdin, case.stdout, output)) for case, output in zip(batch, outputs, strict=True))
    job = Job(checker, entry_point="check", calls=calls, limits=limits_of(spec, context.config), key=request.key)
    result = await context.pool.run(job)
    for number, (case, answered, output) in enumerate(zip(batch, result.cases, outputs, strict=False), first):
        shown = {"case": number, "input": case.stdin, "expected": case.stdout, "got": output}
        if answered.outcome is not JobOutcome.OK:
            reason = _checker_fault(answered.outcome)
            if not reason_of(answered.outcome).retryable and await _accepts_expected(checker, case, job, context):
                reason = Reason.WRONG_ANSWER
            return verdict(reason, note=f"the checker program failed over it: {_note(answered)}", **shown)
        if answered.value is not True:
            return verdict(Reason.WRONG_ANSWER, note="refused by the checker program", **shown)
    if result.outcome is not JobOutcome.OK:
        return verdict(_checker_fault(result.outcome), note=result.error)
    return None


async def _accepts_expected(checker: str, case: StdioCase, job: Job, context: VerifierContext) -> bool:
    """Whether the checker program comes to an end over a case's own expected output."""
    calls = (Call((case.stdin, case.stdout, case.stdout)),)
    result = await context.pool.run(Job(checker, entry_point="check", calls=calls, limits=job.limits, key=job.key))
    return result.outcome is JobOutcome.OK


def _checker_fault(outcome: JobOutcome) -> Reason:
    """Why nothing can be said where the checker program fails over any output."""
    if outcome in (JobOutcome.CPU_LIMIT, JobOutcome.WALL_LIMIT):
        return Reason.CHECK_TIMEOUT
    reason = reason_of(outcome)
    return reason if reason.retryable else Reason.TESTS_BROKEN


def _note(case: CaseResult) -> str | None:
    return error_output(case) or (f"exit status {case.exit_code}" if case.exit_code else None)
