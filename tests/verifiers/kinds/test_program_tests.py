"""`program_tests`: tests in the candidate's own process, and the usual ways around them."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.kinds import program_tests
from berry.verifiers.specs.union import AnyOfSpec, ProgramTestsSpec

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
    split = spec.language == "python"
    assert verdict.evidence["guarantee"] == ("split_judge" if split else "same_process")
    assert ("weak" in verdict.evidence) is not split
    return verdict


@pytest.mark.parametrize(
    ("spec", "code", "reason"),
    [
        (SHELL, "twice() { echo $(($1 * 2)); }", Reason.CORRECT),
        (SHELL, "twice() { echo 5; }", Reason.RUNTIME_ERROR),
        (SHELL, "exit 0", Reason.WRONG_ANSWER),
        (PYTHON, "def twice(x):\n    return 2 * x", Reason.CORRECT),
        (PYTHON, "def twice(x):\n    return x", Reason.WRONG_ANSWER),
        (PYTHON, "import sys\nsys.exit(0)", Reason.RUNTIME_ERROR),
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


STEALS_THE_WORD = {
    "javascript from its own file": (
        JS,
        "const fs = require('fs');\nfor (const m of fs.readFileSync(process.argv[1], 'utf8').matchAll(/[0-9a-f]{32}/g))"
        " fs.writeSync(1, '\\n' + m[0] + '\\n');\nprocess.exit(0);",
    ),
    "javascript from standard input": (
        JS,
        "const fs = require('fs');\nconst b = Buffer.alloc(99);\n"
        "const n = fs.readSync(0, b, 0, 99, 0);\nfs.writeSync(1, b.subarray(0, n));\nprocess.exit(0);",
    ),
    "javascript by what writes": (
        JS,
        "const fs = require('fs');\nfs.writeSync = fs.readFileSync = () => 0;\nprocess.stdout.write = () => 0;\n"
        "function twice(x) { process.exit(0); }",
    ),
    "javascript by another assert": (
        JS,
        "require('module')._load = () => ({deepEqual() {}});\nfunction twice(x) { return x; }",
    ),
    "javascript by a global require": (
        JS,
        "globalThis.require = () => ({deepEqual() {}});\nlet twice = (x) => x;",
    ),
    "c++ by a macro": (CPP, "#define assert(x)\n#define main other\nint twice(int x) { return x; }"),
    "c++ by a macro over lines": (CPP, "#define candidate(x) \\\n  4\nint twice(int x) { return x; }"),
    "c++ by a macro behind a comment": (CPP, "/* */ # /* */ define candidate(x) 4\nint twice(int x) { return x; }"),
    "c++ by a macro in digraphs": (CPP, "%: define candidate(x) 4\nint twice(int x) { return x; }"),
    "c++ by an operator": (
        CPP,
        "struct E { template <class T> bool operator==(T) const { return true; } };\nE twice(int x) { return {}; }",
    ),
    "c++ from standard input": (
        CPP,
        "#include <cstdio>\nstruct E { E() { char b[99]; long n = fread(b, 1, 99, stdin); fwrite(b, 1, n, stdout);"
        " fflush(stdout); std::_Exit(0); } } e;\nint twice(int x) { return x; }",
    ),
    "shell from its own file": (SHELL, 'cat main.sh "$0"; exit 0'),
    "shell from standard input": (SHELL, "cat; cat /proc/self/fd/0; exit 0"),
    "shell by a function": (SHELL, "test() { true; }\ntwice() { echo 5; }\nprintf() { true; }"),
    "shell by an alias": (SHELL, "alias [='true ['\nalias unset=true unalias=true\ntwice() { echo 5; }"),
    "shell by a trap": (SHELL, "trap 'exit 0' EXIT\ntwice() { echo 5; }"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "code"), STEALS_THE_WORD.values(), ids=STEALS_THE_WORD)
def test_the_word_is_out_of_reach_and_the_tests_own_primitives_stand(check, spec, code) -> None:
    verdict = verdict_or_skip(check, spec, f"```{spec.language}\n{code}\n```")
    assert verdict.outcome is Outcome.FAIL, dict(verdict.evidence)


@pytest.mark.parametrize(
    "code",
    [
        "class Any:\n    def __eq__(self, other): return True\ndef twice(x): return Any()",
        "def twice(x): raise StopIteration",
        "import sys\nprint(open(sys.argv[0]).read())\nsys.exit(0)",
        "import builtins\nbuiltins.AssertionError = StopIteration\ndef twice(x): return 5",
        "def twice(x):\n    import sys\n    sys._getframe(1).f_globals['twice'] = lambda x: 4\n    return 5",
    ],
)
def test_python_is_judged_from_another_process(check, code) -> None:
    verdict = check(PYTHON, code)
    assert verdict.outcome is Outcome.FAIL, dict(verdict.evidence)
    assert verdict.evidence["guarantee"] == "split_judge"


@pytest.mark.parametrize(
    ("tests", "prelude", "name"),
    [
        ("assert twice(2) == 4", "", "twice"),
        ("import math\ndef check(candidate):\n    assert candidate(2) == math.pi\ncheck(area)", "", "area"),
        ("for x in range(3):\n    assert f(x) == [y for y in range(x)]", "", "f"),
        ("assert helper(f(1)) == 2", "def helper(x):\n    return x", "f"),
        ("assert f(1) == g(1)", "", None),
        ("def check(candidate):\n    assert candidate(1)\ndef test():\n    check(f)\ntest()", "", "f"),
        ("candidate = f\nassert candidate(1) == 1", "", "f"),
        ("assert Stack().pop() is None", "", None),
        ("s = Stack()\nassert s.pop() is None", "", None),
        ("assert make(1).size == 1", "", None),
        ("assert x == 1", "", None),
        ("assert f(1) == f.cached", "", None),
        ("def check():\n    assert f(1)\ncheck()", "", None),
        ("assert f(1)\nif __name__ == '__main__':\n    pass", "", None),
        ("from math import *\nassert f(1) == pi", "", None),
        ("assert 1 == 1", "", None),
        ("assert f(", "", None),
    ],
)
def test_the_tested_function_is_the_one_name_that_the_tests_lack(tests, prelude, name) -> None:
    assert program_tests.tested_function(ProgramTestsSpec(language="python", tests=tests, prelude=prelude)) == name


async def test_weak_verdicts_count_only_where_the_configuration_says_so() -> None:
    right, wrong = "twice() { echo 4; }", "twice() { echo 5; }"
    async with Checker(CheckerConfig(slots=1)) as checker:
        for code, would_be in ((right, "correct"), (wrong, "runtime_error")):
            verdict = await checker.check(CheckRequest("p", SHELL, code))
            assert (verdict.outcome, verdict.reason) == (Outcome.UNVERIFIABLE, Reason.WEAK_CHECK)
            assert verdict.evidence["would_be"] == would_be
            assert verdict.evidence["weak"] is True
        assert (await checker.check(CheckRequest("p", PYTHON, "def twice(x): return 2 * x"))).passed
        assert (await checker.check(CheckRequest("p", SHELL.model_copy(update={"trusted": True}), right))).passed
        both = AnyOfSpec(parts=(SHELL, SHELL))
        assert (await checker.check(CheckRequest("p", both, right))).reason is Reason.WEAK_CHECK
    async with Checker(CheckerConfig(slots=1, weak_verdicts="count")) as checker:
        assert (await checker.check(CheckRequest("p", SHELL, right))).passed
        assert (await checker.check(CheckRequest("p", SHELL, wrong))).outcome is Outcome.FAIL
