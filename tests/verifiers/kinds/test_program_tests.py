"""`program_tests`: tests in the candidate's own process, and the usual ways around them."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Reason
from berry.verifiers.specs.union import ProgramTestsSpec

JS = ProgramTestsSpec(
    language="javascript",
    tests="const assert = require('node:assert');\nfunction test() {\n  assert.deepEqual(twice(2), 4);\n}\ntest();",
)
CPP = ProgramTestsSpec(
    language="cpp",
    prelude="#include <assert.h>\n#include <cstdlib>",
    tests="int main() {\n  auto candidate = twice;\n  assert(candidate(2) == 4);\n}\n",
)
SHELL = ProgramTestsSpec(language="shell", tests='[ "$(twice 2)" = 4 ]')
PYTHON = ProgramTestsSpec(language="python", tests="assert twice(2) == 4")


def verdict_or_skip(check, spec, code):
    verdict = check(spec, code)
    if verdict.reason is Reason.MISSING_TOOL:
        pytest.skip(f"no tool for {spec.language} on this host")
    assert verdict.evidence["guarantee"] == "same_process"
    return verdict


@pytest.mark.parametrize(
    ("spec", "code", "reason"),
    [
        (SHELL, "twice() { echo $(($1 * 2)); }", Reason.CORRECT),
        (SHELL, "twice() { echo 5; }", Reason.RUNTIME_ERROR),
        (SHELL, "exit 0", Reason.WRONG_ANSWER),
        (PYTHON, "def twice(x):\n    return 2 * x", Reason.CORRECT),
        (PYTHON, "def twice(x):\n    return x", Reason.WRONG_ANSWER),
        (PYTHON, "import sys\nsys.exit(0)", Reason.WRONG_ANSWER),
        (PYTHON, "", Reason.NO_CODE),
    ],
)
def test_a_pass_takes_more_than_an_exit_status(check, spec, code, reason) -> None:
    assert verdict_or_skip(check, spec, code).reason is reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "passes"),
    [
        ("function twice(x) { return 2 * x; }", True),
        ("function twice(x) { return x; }", False),
        ("process.exit(0);", False),
        ("process.on('exit', () => process.exitCode = 0); function twice(x) { return x; }", False),
        ("require('node:assert').deepEqual = () => {}; function twice(x) { return x; }", False),
        ("const twice = (x => 2 * x", False),
    ],
)
def test_javascript(check, code, passes) -> None:
    assert verdict_or_skip(check, JS, code).passed is passes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "passes"),
    [
        ("int twice(int x) { return 2 * x; }", True),
        ("int twice(int x) { return x; }", False),
        ("#define NDEBUG\n#include <assert.h>\nint twice(int x) { return x; }", False),
        ("#undef assert\n#define assert(x)\nint twice(int x) { return x; }", False),
        ("int twice(int x) { std::exit(0); }", False),
        ("struct E { E() { std::_Exit(0); } } e; int twice(int x) { return x; }", False),
    ],
)
def test_cpp(check, code, passes) -> None:
    assert verdict_or_skip(check, CPP, code).passed is passes
