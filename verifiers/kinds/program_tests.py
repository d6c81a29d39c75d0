"""Runs the response's program with tests appended to it, as MultiPL-E has them (`program_tests`).

Languages: C++, JavaScript, Python, shell.

The tests share the candidate's process, so a hostile candidate could forge a pass; every verdict says so
(`guarantee: same_process`). A pass still takes more than an exit status: the last statement of the tests prints a
word drawn for this check, after assertions that were switched on again behind the candidate. A program that
exits early, redefines `assert` or switches it off does not get there.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from berry.sandboxes.base import Job, Outcome
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.code_blocks import find_program
from berry.verifiers.sandbox_limits import error_output, limits_of, reason_of
from berry.verifiers.sources import python_fault
from berry.verifiers.specs.union import ProgramTestsSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

GUARANTEE = "same_process"
_CPP_END = re.compile(r"(?:return\s+0\s*;\s*)?\}\s*$")
_CPP_MAIN = re.compile(r"\bint\s+main\s*\(")
_ASSERTION = re.compile(r"AssertionError|Assertion [`'\"].*failed|assertion failed", re.IGNORECASE)


class NoTests(ValueError):
    """The tests are not of the shape that their language needs."""


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Runs the response's program with the problem's tests behind it."""
    spec = request.spec
    assert isinstance(spec, ProgramTestsSpec)
    code = find_program(request.response, spec.language)
    if code is None:
        return verdict(Reason.NO_CODE, guarantee=GUARANTEE)
    word = secrets.token_hex(16)
    try:
        source = program(spec, code, word)
    except NoTests as error:
        return verdict(Reason.TESTS_BROKEN, note=str(error), guarantee=GUARANTEE)
    job = Job(
        source=source,
        language=spec.language,
        limits=limits_of(spec, context.config),
        key=request.key or request.problem_id,
    )
    result = await context.pool.run(job)
    if not result.cases:
        return verdict(reason_of(result.outcome), note=result.error, guarantee=GUARANTEE)
    case = result.cases[0]
    if case.outcome is Outcome.OK and word.encode() in case.stdout:
        return verdict(Reason.CORRECT, guarantee=GUARANTEE)
    if case.outcome is Outcome.OK:
        return verdict(Reason.WRONG_ANSWER, note="ended before the tests did", guarantee=GUARANTEE)
    note = error_output(case) or f"exit status {case.exit_code}"
    failed = (
        case.outcome is Outcome.RUNTIME_ERROR and _ASSERTION.search(case.stderr.decode("utf-8", "replace")) is not None
    )
    return verdict(Reason.WRONG_ANSWER if failed else reason_of(case.outcome), note=note, guarantee=GUARANTEE)


def fault(spec: ProgramTestsSpec) -> str | None:
    """Why the tests are not of the shape that their language needs; None when they are."""
    try:
        program(spec, "", "")
    except NoTests as error:
        return str(error)
    return python_fault(spec.tests, "tests") if spec.language == "python" else None


def program(spec: ProgramTestsSpec, code: str, word: str) -> str:
    """The whole program; raises NoTests."""
    return _PROGRAMS[spec.language](spec, code, word)


def _cpp(spec: ProgramTestsSpec, code: str, word: str) -> str:
    tests = spec.tests
    if not _CPP_MAIN.search(tests) or not _CPP_END.search(tests):
        raise NoTests("tests must end with `int main() { … }`")
    tests = _CPP_END.sub(f'std::fputs("\\\\n{word}\\\\n", stdout);\nstd::fflush(stdout);\nreturn 0;\n}}\n', tests)
    again = "\n#undef NDEBUG\n#undef assert\n#include <cassert>\n#include <cstdio>\n"
    return f"{spec.prelude}\n{code}\n{again}{tests}"


_FROZEN = """(() => {
  const assert = require('node:assert');
  for (const part of [assert, assert.strict]) for (const name of Object.keys(part)) {
    Object.defineProperty(part, name, {value: part[name], writable: false, configurable: false});
  }
})();
"""


def _javascript(spec: ProgramTestsSpec, code: str, word: str) -> str:
    return f"{_FROZEN}{spec.prelude}\n{code}\n{spec.tests}\n;process.stdout.write('\\n{word}\\n');\n"


def _python(spec: ProgramTestsSpec, code: str, word: str) -> str:
    return f"{spec.prelude}\n{code}\n{spec.tests}\nprint('\\n{word}')\n"


def _shell(spec: ProgramTestsSpec, code: str, word: str) -> str:
    return f"{spec.prelude}\n{code}\nset -e\n{spec.tests}\nprintf '\\n%s\\n' {word}\n"


_PROGRAMS = {"cpp": _cpp, "javascript": _javascript, "python": _python, "shell": _shell}
