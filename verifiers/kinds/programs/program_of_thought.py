"""Runs the response's program and compares its result as mathematics (`program_of_thought`, Chen et al. 2022).

The result is what `solution()` returns, else the variable `answer` (or `ans`, `result`), else the last line printed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import ItemsView, KeysView, ValuesView
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from berry.sandboxes.base import CaseResult, Job, JobOutcome, SandboxError
from berry.sandboxes.host.queue import Overloaded
from berry.sandboxes.host.slot import SlotDied
from berry.verifiers.base import Reason, Verdict, show, verdict
from berry.verifiers.extraction.code_blocks import find_program
from berry.verifiers.kinds.math import same_answer
from berry.verifiers.maths.ladder import gold_fault
from berry.verifiers.sandbox_limits import error_output, limits_of, reason_of
from berry.verifiers.specs.union import ProgramOfThoughtSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

MAX_SHOWN = 1000
_ASK = """
[True, solution()] if callable(globals().get('solution')) else next(
    ([True, globals()[name]] for name in ('answer', 'ans', 'result') if name in globals()), [False, None])
"""
"""Evaluated in the program's own namespace, so what comes back is the program's claim, like all that it says."""


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Runs the response's program and compares its result with the gold answer."""
    spec = request.spec
    assert isinstance(spec, ProgramOfThoughtSpec)
    if (problem := gold_fault(spec.answer)) is not None:
        return verdict(Reason.GOLD_UNPARSABLE, expected=spec.answer, note=problem)
    code = find_program(request.response, "python")
    if code is None:
        return verdict(Reason.NO_CODE)
    job = Job(
        source=code, profile="numeric", limits=limits_of(spec, context.config), key=request.key or request.problem_id
    )
    try:
        async with context.pool.open(job) as session:
            loaded = session.loaded
            asked = await session.exec(_ASK) if loaded.outcome is JobOutcome.OK else None
    except Overloaded as error:
        return verdict(Reason.OVERLOADED, note=str(error))
    except (SlotDied, SandboxError) as error:
        return verdict(Reason.SANDBOX_FAULT, note=str(error))
    for case in (loaded, asked):
        if case is not None and case.outcome is not JobOutcome.OK:
            note = f"{case.error_type}: {case.error}" if case.error_type else error_output(case)
            return verdict(reason_of(case.outcome), note=note)
    assert asked is not None
    result = _result(loaded, asked)
    if not result:
        return verdict(Reason.NO_ANSWER, note="no solution(), no `answer`, nothing printed")
    decision = await same_answer(spec.answer, result, spec.strictness, context.symbolic)
    return verdict(decision.reason, answer=result, expected=spec.answer, rung=decision.rung, note=decision.note)


def fault(spec: ProgramOfThoughtSpec) -> str | None:
    """Why the gold answer can't be read; None when it can."""
    return gold_fault(spec.answer)


def _result(loaded: CaseResult, asked: CaseResult) -> str:
    if type(asked.value) is list and len(asked.value) == 2 and asked.value[0] is True:
        return shown(asked.value[1])
    if type(asked.value) is str:  # the pair, as text, since its value is no plain data: "[True, sqrt(2)]"
        return asked.value.removeprefix("[True, ").removesuffix("]")
    lines = loaded.stdout.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def shown(value: Any) -> str:
    """Plain data as the ladder reads it: sets with braces, complex numbers with i."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return (
            repr(value)
            if not isinstance(value, int) or value.bit_length() < 10_000
            else f"int of {value.bit_length()} bits"
        )
    if isinstance(value, Decimal | str):
        return str(value)
    if isinstance(value, Fraction):
        top, bottom = shown(value.numerator), shown(value.denominator)
        return top if value.denominator == 1 else f"{top}/{bottom}"
    if isinstance(value, complex):
        return f"{value.real!r}+({value.imag!r})*i"
    if isinstance(value, set | frozenset):
        return "\\{" + ", ".join(sorted(map(shown, value))) + "\\}"
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) if isinstance(value, list) else "(" + ", ".join(map(shown, value)) + ")"
    if isinstance(value, range | deque | KeysView | ValuesView | ItemsView) and len(value) <= MAX_SHOWN:
        return shown(list(value))
    return show(value)
