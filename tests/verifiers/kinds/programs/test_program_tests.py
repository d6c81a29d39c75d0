# ruff: noqa: E501 (one attack a line)
"""`program_tests`: tests in the candidate's own process, and the usual ways around them."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.kinds.programs import program_tests
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
STACK = ProgramTestsSpec(language="python", tests="s = Stack()\ns.push(3)\nassert s.pop() == 3\nassert s.n == 0")


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
    "c++ from memory": (
        CPP,
        "#include <cctype>\n#include <cstdio>\nstatic char mark[1];\nstruct E { E() {\n"
        "  char *page = (char *)((unsigned long)mark & ~4095UL);\n"
        "  for (char *p = page; p < page + 4064; p++) { int n = 0; while (n < 32 && isxdigit(p[n])) n++;\n"
        '    if (n == 32) { printf("\\n%.32s\\n", p); fflush(stdout); std::_Exit(0); } }\n} } e;\n'
        "int twice(int x) { return x; }",
    ),
    "javascript from a dump of the heap": (
        JS,
        "const dump = require('v8').writeHeapSnapshot('h');\nfor (const m of require('fs').readFileSync(dump, 'utf8')"
        ".matchAll(/[0-9a-f]{32}/g)) require('fs').writeSync(1, '\\n' + m[0] + '\\n');\nprocess.exit(0);",
    ),
    "javascript from a dump of the heap by another way in": (
        JS,
        "const load = process.binding ? require('module')._load : require;\nconst dump = load('v8').writeHeapSnapshot('h');\n"
        "for (const m of require('fs').readFileSync(dump, 'utf8').matchAll(/[0-9a-f]{32}/g))"
        " require('fs').writeSync(1, '\\n' + m[0] + '\\n');\nprocess.exit(0);",
    ),
    "shell from its variables": (SHELL, "set | sed -n \"s/.*='\\([0-9a-f]*\\)'/\\1/p\"; exit 0"),
    "shell from its variables and its file": (SHELL, "set; cat main.sh; exit 0"),
    "shell by a path": (SHELL, "cp /bin/true ./cmp; PATH=.; twice() { echo 5; }"),
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


HONEST_STACK = """class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)
    def pop(self): return self.items.pop()
    @property
    def n(self): return len(self.items)
"""
WRONG_STACK = "class Stack:\n    n = 1\n    def push(self, item): pass\n    def pop(self): return 4\n"
LOOKS = "if isinstance(v, str) and len(v.strip()) in (16, 32): print('\\n' + v.strip(), flush=True)"
SAME_PROCESS = {
    "its own globals": f"import __main__, os\nfor v in list(vars(__main__).values()):\n    {LOOKS}\nos._exit(0)",
    "the collector's objects": (
        "import gc, os\nfor o in gc.get_objects():\n  if isinstance(o, (dict, list, tuple)):\n"
        f"    for v in list(o.values() if isinstance(o, dict) else o):\n      {LOOKS}\nos._exit(0)"
    ),
    "frames of its callers": (
        "import os, sys\nclass Stack:\n  n = 0\n  def push(self, item):\n    frame = sys._getframe()\n    while frame:\n"
        "      for v in [*frame.f_locals.values(), *frame.f_globals.values(), *frame.f_code.co_consts]:\n"
        f"        {LOOKS}\n      frame = frame.f_back\n    os._exit(0)"
    ),
    "its standard input": "import os\nprint(open(0).read())\nos._exit(0)",
    "its memory": "import os\nprint(open('/proc/self/mem', 'rb').read(1))\nos._exit(0)",
    "what is about to be asked": "import os\nos.set_blocking(3, False)\nprint(os.read(3, 9999))\nos._exit(0)",
    "no comparison at all": f"import builtins\nbuiltins.exec = builtins.compile = lambda *a, **k: None\n{WRONG_STACK}",
    "another compiler": f"import sys, types\nm = types.ModuleType('ast'); m.parse = None\nsys.modules['ast'] = m\n{WRONG_STACK}",
    "another AssertionError": f"import builtins\nbuiltins.AssertionError = SystemExit\n{WRONG_STACK}",
    "leaving": "raise SystemExit",
}


def test_python_tests_of_a_class_share_its_process(check) -> None:
    verdict = check(STACK, HONEST_STACK)
    assert verdict.passed
    assert verdict.evidence["weak"] is True
    assert check(STACK, HONEST_STACK + "if __name__ == '__main__':\n    print(Stack().n)").passed
    assert check(STACK, WRONG_STACK).reason is Reason.WRONG_ANSWER
    assert check(STACK, "class Stack: pass").reason is Reason.RUNTIME_ERROR


@pytest.mark.parametrize("code", SAME_PROCESS.values(), ids=SAME_PROCESS)
def test_neither_tests_nor_word_are_in_the_process_of_a_program_that_looks_for_them(check, code) -> None:
    assert check(STACK, f"```python\n{code}\n```").outcome is Outcome.FAIL


def test_built_in_names_are_themselves_again_before_the_tests(check) -> None:
    spec = ProgramTestsSpec(language="python", tests="s = Stack()\nassert all([s.pop() == 3, s.n == 0])")
    assert check(spec, f"import builtins\nbuiltins.all = lambda values: True\n{WRONG_STACK}").outcome is Outcome.FAIL


def test_a_word_counts_alone_on_its_line() -> None:
    word, other = "0123456789abcdef" * 2, "f" * 32
    assert program_tests.said(f"some output\n{word}\n".encode(), word)
    assert program_tests.said(f"digest {other}\n{word}".encode(), word)
    for output in (f"{other}\n{word}\n", f"{word}\n{other}\n", f"w='{word}'\n", word[:31], f"{word}0", ""):
        assert not program_tests.said(output.encode(), word), output


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
