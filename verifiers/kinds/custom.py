"""Checks a response with a function of the user's own, called in the sandbox (`custom`).

    function: "mypackage.checks:is_polite"    imported once into a warm profile, then each call in a fresh fork
    function: "checks.py:is_polite"           its source is run in the jail; read here unless `source` came along

`f(response, prompt, **options)` returns True, False, None (the check can't be made), or a dict with `passed` (one of
these) and evidence. Anything else, or an exception, is the check's fault: UNVERIFIABLE, never a pass; unless the
function does answer for the problem's `example` or one of CONTROLS: then it is this response that it fails over, and
the response is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berry.sandboxes.base import Call, Job, JobOutcome, SandboxError
from berry.verifiers.base import Reason, Verdict, show, truncate, verdict
from berry.verifiers.sandbox_limits import limits_of, reason_of
from berry.verifiers.specs.union import CodeSpec, CustomSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

CONTROLS = ("", "0", "1 2 3 4 5 6 7 8 9", "{}", "[]")
"""Responses that a function which works can answer for, one of them at least."""
_FAILED = (Reason.TESTS_BROKEN, Reason.CHECK_TIMEOUT)
_REASONS = {True: Reason.CORRECT, False: Reason.WRONG_ANSWER, None: Reason.NOT_CHECKED}


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Calls the user's function on the response, in the sandbox."""
    spec = request.spec
    assert isinstance(spec, CustomSpec)
    module, _, name = spec.function.rpartition(":")
    try:
        source, profile = _load(spec, module, name)
    except OSError as error:
        return verdict(Reason.MISSING_TOOL, note=f"{module}: {error.strerror}")
    except UnicodeDecodeError:
        return verdict(Reason.TESTS_BROKEN, note=f"{module}: is not UTF-8 text")

    async def ask(response: str) -> Verdict:
        job = Job(
            source=source,
            entry_point=name,
            calls=(Call((response, request.prompt), dict(spec.options)),),
            profile=profile,
            limits=limits_of(CodeSpec(), context.config),
            key=request.key or request.problem_id,
        )
        result = await context.pool.run(job)
        if result.outcome is not JobOutcome.OK:
            return verdict(failure_of(result.outcome), note=result.error)
        return verdict_of(result.cases[0].value)

    try:
        result = await ask(request.response)
        controls = CONTROLS if spec.example is None else (spec.example, *CONTROLS)
        for control in controls if result.reason in _FAILED else ():
            answered = await ask(control)
            if answered.reason not in _FAILED:
                note = f"the function fails over this response: {result.evidence.get('note')}"
                return verdict(Reason.WRONG_ANSWER, note=note)
            if answered.reason is Reason.CHECK_TIMEOUT:
                break
    except SandboxError as error:  # the module can't be imported on this host
        return verdict(Reason.MISSING_TOOL, note=str(error))
    return result


def fault(spec: CustomSpec) -> str | None:
    """Why the function can't be called: its file is not there. None where it is, or where a module is named."""
    if spec.file is None or spec.file.is_file():
        return None
    return f"function {spec.function!r}: there is no file {str(spec.file.absolute())!r}"


def _load(spec: CustomSpec, module: str, name: str) -> tuple[str, str | tuple[str, ...]]:
    """(source, profile) of a file or an importable module."""
    if spec.source is not None:
        return spec.source, "bare"
    if spec.file is not None:
        return spec.file.read_text(encoding="utf-8"), "bare"
    return f"from {module} import {name}", (module,)


def failure_of(outcome: JobOutcome) -> Reason:
    """Why a class or function of the user's, which ended so, said nothing: never the response's fault."""
    if outcome in (JobOutcome.CPU_LIMIT, JobOutcome.WALL_LIMIT, JobOutcome.MEMORY_LIMIT):
        return Reason.CHECK_TIMEOUT
    reason = reason_of(outcome)
    return reason if reason.retryable else Reason.TESTS_BROKEN


def verdict_of(value: Any) -> Verdict:
    """The verdict that a value stands for: True, False, None, or a dict with `passed` and evidence."""
    evidence: dict[str, Any] = {}
    if type(value) is dict:
        own = ("passed", "answer", "reason")
        evidence = {truncate(k if type(k) is str else show(k), 60): v for k, v in value.items() if k not in own}
        answer = value.get("answer")
        value = value.get("passed", "missing")
    else:
        answer = None
    if value is not None and type(value) is not bool:
        evidence["note"] = f"returned {show(value)}, not True, False or None"
        return verdict(Reason.TESTS_BROKEN, **evidence)
    return verdict(_REASONS[value], answer=answer if type(answer) is str else None, **evidence)
