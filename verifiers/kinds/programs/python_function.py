"""Judges a function that the response defines, by tests or by input and output pairs (`python_function`).

With `tests` (HumanEval's `check(candidate)` or bare asserts) two jailed children run: the tests in one, the
candidate in the other, plain data between them. With `cases` the calls go into the jail and the values are compared
here. Either way the candidate never holds what is expected of it.

Errors of the tests are told apart from the candidate's: a test that trips over what the candidate returned fails it,
whatever it raises; a test that can't be run at all (a name that they spell out and that isn't defined, an import that
isn't there, asserts that contradict each other, or no call of the candidate) makes the problem UNVERIFIABLE, and so
does one that runs out of time, unless some value of the candidate's was so large that it may be the cause, or another
candidate has passed the same tests in half the time: then right values don't take them as long.
"""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from berry.sandboxes.base import Call, CaseResult, Job, JobOutcome, JudgeResult, JudgeStatus
from berry.verifiers.base import Outcome, Reason, Verdict, show, verdict
from berry.verifiers.extraction.code_blocks import find_program
from berry.verifiers.kinds.programs.plain_values import same_value
from berry.verifiers.sandbox_limits import error_output, limits_of, reason_of
from berry.verifiers.sources import python_fault
from berry.verifiers.specs.union import PythonFunctionSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

_ENDS = re.compile(r"\b(?:exit|_exit|quit|SystemExit|main)\b")
CPU_LIMIT = "cpu limit"
"""What a judge says that ran out of CPU time: see `berry.sandboxes.host.outcomes.forced`."""
MAX_REMEMBERED = 1024
_passed_in_s: dict[tuple[str, ...], float] = {}
_QUOTED = re.compile(r"'([^']*)'")
_OF_A_MODULE = re.compile(r"(?:partially initialized )?module ")


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Runs the response's function against the problem's tests or cases."""
    spec = request.spec
    assert isinstance(spec, PythonFunctionSpec)
    code = find_program(request.response, "python", entry_point=spec.entry_point, prompt=request.prompt)
    if code is None:
        return verdict(Reason.NO_CODE)
    if (problem := tests_fault(spec)) is not None:
        return verdict(Reason.TESTS_BROKEN, note=problem)
    job = Job(
        source=f"{spec.prelude}\n{code}",
        entry_point=spec.entry_point,
        limits=limits_of(spec, context.config),
        key=request.key or request.problem_id,
    )
    if spec.tests is None:
        return await _cases(spec, job, context)
    trial = await context.pool.judge(job, spec.tests, prelude=spec.prelude)
    _remember_pass(spec, trial)
    result = _of_trial(spec, spec.tests, trial)
    if trial.status is JudgeStatus.JUDGE_LIMIT and trial.calls and trial.message == CPU_LIMIT:
        limit_s = context.pool.limits_now(None).cpu_s  # the judge's own
        if _passed_in_s.get(_tests_key(spec), limit_s) < limit_s / 2:
            return verdict(Reason.WRONG_ANSWER, **{**result.evidence, "note": "right values don't keep the tests busy"})
    if result.passed and trial.changed_and_returned:
        # `f(x) == sorted(x)` is true of a function that empties x and returns []: it must hold of x as it was, too
        second = await context.pool.judge(job, spec.tests, prelude=spec.prelude, as_given=trial)
        again = _of_trial(spec, spec.tests, second)
        if again.outcome is Outcome.FAIL:
            return replace(again, evidence={**again.evidence, "note": "passes only by changing its arguments"})
        return again
    return result


def _tests_key(spec: PythonFunctionSpec) -> tuple[str, ...]:
    return (spec.tests or "", spec.prelude, spec.entry_point)


def _remember_pass(spec: PythonFunctionSpec, trial: JudgeResult) -> None:
    """Notes in how many CPU seconds the tests passed somebody: the least so far."""
    if not trial.passed or not trial.calls:
        return
    key = _tests_key(spec)
    while len(_passed_in_s) >= MAX_REMEMBERED:
        _passed_in_s.pop(next(iter(_passed_in_s)))
    _passed_in_s[key] = min(trial.judge_cpu_s, _passed_in_s.get(key, trial.judge_cpu_s))


# ---- tests ----------------------------------------------------------------------------------------------------------


def _of_trial(spec: PythonFunctionSpec, tests: str, trial: JudgeResult) -> Verdict:
    evidence: dict[str, Any] = {"calls": trial.calls, "note": trial.message or None}
    if trial.line is not None:
        evidence |= _failing(tests, trial.line)
    if trial.calls and not trial.passed:
        evidence |= {"input": _shown(trial.args, trial.kwargs), "got": show(trial.got)}
    match trial.status:
        case JudgeStatus.PASSED:
            if trial.calls == 0:
                return verdict(Reason.TESTS_BROKEN, note=f"the tests never call {spec.entry_point}")
            return verdict(Reason.CORRECT, calls=trial.calls)
        case JudgeStatus.FAILED:
            return verdict(Reason.WRONG_ANSWER, **evidence)
        case JudgeStatus.CANDIDATE:
            if trial.candidate.outcome is JobOutcome.OK:  # an exception of its own that the tests did not expect
                return verdict(Reason.RUNTIME_ERROR, **evidence)
            return verdict(reason_of(trial.candidate.outcome), **{**evidence, "note": error_output(trial.candidate)})
        case JudgeStatus.JUDGE_ERROR:
            broken = not trial.calls or _tests_own(spec, trial.message or "")
            return verdict(Reason.TESTS_BROKEN if broken else Reason.WRONG_ANSWER, **evidence)
        case JudgeStatus.JUDGE_LIMIT:
            if trial.calls and trial.large:
                return verdict(Reason.WRONG_ANSWER, **{**evidence, "note": "the tests can't get through this value"})
            return verdict(Reason.CHECK_TIMEOUT, **evidence)
        case JudgeStatus.NOT_CHECKED:
            return verdict(reason_of(trial.candidate.outcome), **evidence)


def _tests_own(spec: PythonFunctionSpec, message: str) -> bool:
    """Whether an error that ended the tests is theirs, whatever they were answered: over a name, attribute or import
    that they spell out themselves. What they make of an answer (`eval` of it, say) is the answer's."""
    kind, _, text = message.partition(": ")
    source = f"{spec.prelude}\n{spec.tests}"
    if kind == "Unsupported":
        return text.endswith("is not plain data")
    if kind == "SystemExit":
        return text in ("", "0", "None", "False") and _ENDS.search(source) is not None
    quoted = _QUOTED.findall(text)
    if kind == "AttributeError":
        return _OF_A_MODULE.match(text) is not None and len(quoted) > 1 and quoted[1] in _spelled(source)
    named = kind in ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError")
    return named and bool(quoted) and quoted[0] in _spelled(source)


@lru_cache(maxsize=256)
def _spelled(source: str) -> frozenset[str]:
    """The names, attributes and imports that stand in Python; with a dotted import all that it begins with."""
    spelled: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                spelled.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                dotted = [alias.name for alias in aliases]
                dotted += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                spelled.update(
                    ".".join(name.split(".")[: n + 1]) for name in dotted for n in range(name.count(".") + 1)
                )
    return frozenset(spelled)


def _failing(tests: str, line: int) -> dict[str, str]:
    """The statement of the tests at `line`, and what it expected where it is a plain comparison."""
    try:
        tree = ast.parse(tests)
    except SyntaxError:
        return {}
    found = [n for n in ast.walk(tree) if isinstance(n, ast.stmt) and n.lineno <= line <= (n.end_lineno or n.lineno)]
    if not found:
        return {}
    statement = max(found, key=lambda n: n.lineno)
    shown = {"test": ast.unparse(statement)}
    compared = _expectation(statement)
    return shown if compared is None else shown | {"expected": compared[1]}


def _expectation(statement: ast.stmt) -> tuple[str, str] | None:
    """(call, expected) of `assert f(...) == value`, as source."""
    if not isinstance(statement, ast.Assert) or not isinstance(statement.test, ast.Compare):
        return None
    compare = statement.test
    if len(compare.ops) != 1 or not isinstance(compare.ops[0], ast.Eq) or not isinstance(compare.left, ast.Call):
        return None
    return ast.unparse(compare.left), ast.unparse(compare.comparators[0])


def fault(spec: PythonFunctionSpec) -> str | None:
    """Why the problem's own code can judge nobody; None when it can."""
    return python_fault(spec.prelude, "prelude") or tests_fault(spec)


def tests_fault(spec: PythonFunctionSpec) -> str | None:
    """Why these tests can pass nobody: the same call with two different constants expected; None when they can."""
    if spec.tests is not None:
        return _asserts_fault(spec.tests, spec.entry_point)
    return _contradiction([(_shown(case.args, case.kwargs), case.expected) for case in spec.cases])


@lru_cache(maxsize=1024)
def _asserts_fault(tests: str, name: str) -> str | None:
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"tests can't be compiled: {error}"[:300]
    for statements in _straight(tree):
        pairs = []
        for statement in statements:
            pair = _expectation(statement)
            if (
                pair is not None
                and _calls(pair[0], name)
                and _literal(pair[0])
                and (value := _constant(pair[1])) is not _NO_CONSTANT
            ):
                pairs.append((pair[0], value))
        if (problem := _contradiction(pairs)) is not None:
            return problem
    return None


def _contradiction(pairs: list[tuple[str, Any]]) -> str | None:
    seen: dict[str, Any] = {}
    for call, value in pairs:
        if call in seen and not same_value(seen[call], value) and not same_value(value, seen[call]):
            return f"tests contradict each other: {call} is both {show(seen[call])} and {show(value)}"[:300]
        seen[call] = value
    return None


def _straight(tree: ast.Module) -> list[list[ast.stmt]]:
    """Statements that run one after another: the module's, and those of its functions."""
    return [tree.body, *(node.body for node in tree.body if isinstance(node, ast.FunctionDef))]


def _calls(call: str, name: str) -> bool:
    """Whether it is the function under test that is called: one that it returned may have a memory."""
    tree = ast.parse(call, mode="eval").body
    return isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in (name, "candidate")


def _literal(call: str) -> bool:
    """Whether all arguments of the call are constants."""
    tree = ast.parse(call, mode="eval").body
    arguments = [*tree.args, *(k.value for k in tree.keywords)] if isinstance(tree, ast.Call) else []
    return all(_constant(ast.unparse(argument)) is not _NO_CONSTANT for argument in arguments)


_NO_CONSTANT = object()


def _constant(source: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _NO_CONSTANT


# ---- cases ----------------------------------------------------------------------------------------------------------


async def _cases(spec: PythonFunctionSpec, job: Job, context: VerifierContext) -> Verdict:
    calls = tuple(Call(case.args, case.kwargs) for case in spec.cases)
    result = await context.pool.run(
        Job(job.source, entry_point=job.entry_point, calls=calls, limits=job.limits, key=job.key)
    )
    if not result.cases and result.outcome is not JobOutcome.OK:
        return verdict(reason_of(result.outcome), note=result.error)
    for number, (case, got) in enumerate(zip(spec.cases, result.cases, strict=True)):
        shown = {"case": number, "input": _shown(case.args, case.kwargs), "expected": show(case.expected)}
        if got.outcome is JobOutcome.NOT_RUN:
            return verdict(reason_of(result.outcome), note=result.error, **shown)
        if got.outcome is not JobOutcome.OK:
            return verdict(reason_of(got.outcome), note=_note(got), **shown)
        if not same_value(case.expected, got.value, tolerance=spec.tolerance, sequences=spec.sequences):
            return verdict(Reason.WRONG_ANSWER, got=show(got.value), **shown)
    return verdict(Reason.CORRECT, cases=len(spec.cases))


def _note(case: CaseResult) -> str | None:
    return f"{case.error_type}: {case.error}" if case.error_type else error_output(case)


def _shown(args: Any, kwargs: Any) -> str:
    return ", ".join([*(show(a) for a in args), *(f"{k}={show(v)}" for k, v in dict(kwargs).items())])
