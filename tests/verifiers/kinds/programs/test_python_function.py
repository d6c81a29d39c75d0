"""`python_function`: tests outside, the candidate inside."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.specs.code import Case, ProgramOfThoughtSpec, PythonFunctionSpec

CHECK = "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert candidate(-1, 1) == 0\n"
ADD = PythonFunctionSpec(entry_point="add", tests=CHECK)
CASES = PythonFunctionSpec(entry_point="add", cases=(Case(args=(1, 2), expected=3), Case(args=(-1, 1), expected=0)))


@pytest.mark.parametrize("spec", [ADD, CASES], ids=["tests", "cases"])
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def add(a, b):\n    return a + b", Reason.CORRECT),
        ("Here:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.", Reason.CORRECT),
        ("def add(a, b):\n    return a - b", Reason.WRONG_ANSWER),
        ("def add(a, b):\n    return None", Reason.WRONG_ANSWER),
        ("def add(a, b):\n    return True", Reason.WRONG_ANSWER),
        ("def plus(a, b):\n    return a + b", Reason.MISSING_ENTRY_POINT),
        ("def add(a, b:\n    return", Reason.COMPILE_ERROR),
        ("def add(a, b):\n    return a / 0", Reason.RUNTIME_ERROR),
        ("import os\nos._exit(0)", Reason.RUNTIME_ERROR),
        ("def add(a, b):\n    raise SystemExit(0)", Reason.RUNTIME_ERROR),
        ("", Reason.NO_CODE),
        ("The function adds two numbers.", Reason.COMPILE_ERROR),
        (
            "class Same:\n    def __eq__(self, other):\n        return True\n\ndef add(a, b):\n    return Same()",
            Reason.UNSUPPORTED_VALUE,
        ),
    ],
)
def test_each_end_of_a_candidate_has_its_reason(check, spec, code, reason) -> None:
    verdict = check(spec, code)
    assert verdict.reason is reason
    assert verdict.outcome is reason.outcome


def test_the_evidence_shows_the_failing_case(check) -> None:
    code = "def add(a, b):\n    return 3"
    for spec in (ADD, CASES):
        evidence = check(spec, code).evidence
        assert (evidence["input"], evidence["expected"], evidence["got"]) == ("-1, 1", "0", "3")


def test_a_pass_needs_a_call(check) -> None:
    never = PythonFunctionSpec(entry_point="add", tests="def check(candidate):\n    pass\n")
    assert check(never, "def add(a, b):\n    return 1").reason is Reason.TESTS_BROKEN


@pytest.mark.parametrize(
    ("tests", "reason"),
    [
        ("def check(candidate):\n    assert candidate(1, 2) == undefined_name\n", Reason.TESTS_BROKEN),
        ("raise ImportError('nothing here')", Reason.TESTS_BROKEN),
        ("assert add(1, 2) == 3\nassert add(1, 2) == 4\n", Reason.TESTS_BROKEN),
        ("assert add(1, 2) = 3\n", Reason.TESTS_BROKEN),
    ],
)
def test_broken_tests_are_never_the_candidates_fault(check, tests, reason) -> None:
    verdict = check(PythonFunctionSpec(entry_point="add", tests=tests), "def add(a, b):\n    return a + b")
    assert (verdict.outcome, verdict.reason) == (Outcome.UNVERIFIABLE, reason)


@pytest.mark.slow
def test_tests_that_never_end_are_unverifiable(check) -> None:
    spec = PythonFunctionSpec(entry_point="add", tests="add(1, 2)\nwhile True:\n    pass\n", cpu_s=0.5)
    verdict = check(spec, "def add(a, b):\n    return a + b")
    assert verdict.outcome is Outcome.UNVERIFIABLE
    assert verdict.reason is Reason.CHECK_TIMEOUT


@pytest.mark.slow
def test_a_candidate_that_never_ends_fails(check) -> None:
    for spec in (ADD, CASES):
        limited = spec.model_copy(update={"cpu_s": 0.5})
        assert check(limited, "def add(a, b):\n    while True:\n        pass").reason is Reason.CPU_LIMIT


def test_the_prelude_is_there_for_both_sides(check) -> None:
    prelude = "import math\n\ndef helper(x):\n    return x * 2\n"
    tests = "def check(candidate):\n    assert candidate(2) == helper(2) + math.floor(1.5)\n"
    spec = PythonFunctionSpec(entry_point="f", tests=tests, prelude=prelude)
    assert check(spec, "def f(x):\n    return helper(x) + math.floor(1.2)").passed


def test_json_lists_may_be_tuples_and_floats_have_a_tolerance(check) -> None:
    spec = PythonFunctionSpec(entry_point="f", cases=(Case(args=(1,), expected=[1, 0.3]),), tolerance=1e-9)
    assert check(spec, "def f(x):\n    return (1, 0.1 + 0.2)").passed
    exact = spec.model_copy(update={"sequences": "exact"})
    assert check(exact, "def f(x):\n    return (1, 0.3)").reason is Reason.WRONG_ANSWER
    assert check(exact, "def f(x):\n    return [1, 0.1 + 0.2]").passed


@pytest.mark.parametrize(
    ("code", "tests", "reason"),
    [
        pytest.param(
            "def f(x):\n    x.clear()\n    return []",
            "for x in ([3, 1], [2]):\n    assert f(x) == sorted(x)",
            Reason.WRONG_ANSWER,
            id="empties what it is compared with",
        ),
        pytest.param(
            "def f(x):\n    x.sort()\n    return x",
            "for x in ([3, 1], [2]):\n    assert f(x) == sorted(x)",
            Reason.CORRECT,
            id="honest: sorts in place and returns it",
        ),
        pytest.param(
            "def f(x): x.sort()", "x = [3, 1]\nf(x)\nassert x == [1, 3]", Reason.CORRECT, id="honest: in place"
        ),
        pytest.param(
            "def f(x):\n    s = sum(x)\n    x.clear()\n    return s",
            "x = [3, 1]\nassert f(x) == 4\nassert x == [3, 1]",
            Reason.WRONG_ANSWER,
            id="an effect that was not asked for",
        ),
        pytest.param(
            "def f(x): raise StopIteration", "assert all(map(f, [1, 2]))", Reason.RUNTIME_ERROR, id="ends the iteration"
        ),
        pytest.param(
            "def f(x): raise StopIteration",
            "assert all(f(x) == x for x in [1, 2])",
            Reason.RUNTIME_ERROR,
            id="breaks the generator",
        ),
        pytest.param("def f(x): return None", "assert f(1).real == 1", Reason.WRONG_ANSWER, id="None has no attribute"),
        pytest.param("def f(x): return 'a' * 5", "import math\nmath.sqrt(f(1))", Reason.WRONG_ANSWER, id="a TypeError"),
        pytest.param("def f(x): return 10**400", "assert float(f(1)) == 1", Reason.WRONG_ANSWER, id="an OverflowError"),
        pytest.param(
            "def f(x): return -1",
            "class NotThere(Exception): pass\nif f(1) < 0: raise NotThere",
            Reason.WRONG_ANSWER,
            id="an exception of the tests' own",
        ),
        pytest.param(
            "def f(x): return 10**12",
            "n = 0\nfor i in range(f(1)): n += i\nassert n == 0",
            Reason.WRONG_ANSWER,
            id="a value that the tests can't get through",
        ),
        pytest.param("def f(x): return 1", "f(1)\nwhile True: pass", Reason.CHECK_TIMEOUT, id="tests that never end"),
        pytest.param("def f(x): return 1", "assert f(1) == nope", Reason.TESTS_BROKEN, id="a missing name"),
        pytest.param("def f(x): return 1", "f(1)\nimport nope", Reason.TESTS_BROKEN, id="a missing module"),
        pytest.param("def f(x): return 1", "import math\nf(1)\nmath.nope", Reason.TESTS_BROKEN, id="missing function"),
        pytest.param("def f(x): return range(x)", "assert f(2) == [0, 1]", Reason.WRONG_ANSWER, id="a range"),
    ],
)
def test_a_failure_stays_a_failure_and_only_the_tests_own_faults_are_theirs(check, code, tests, reason) -> None:
    spec = PythonFunctionSpec(entry_point="f", tests=tests, cpu_s=1)
    verdict = check(spec, code)
    assert verdict.reason is reason, dict(verdict.evidence)


@pytest.mark.parametrize(
    ("code", "tests", "passes"),
    [
        ("def f(x):\n    x.sort()\n    return x[-1]", "x = [3, 1]\nassert f(x) == 3\nassert x == [1, 3]", True),
        ("def f(x):\n    x.sort()\n    return x[-1]", "x = [3, 1]\nassert f(x) == 3\nassert x == [3, 1]", False),
        ("def f(x): return x.pop(0)", "q = [1, 2]\nassert f(q) == 1\nassert f(q) == 2\nassert not q", True),
        ("def f(x):\n    x.clear()\n    return []", "x = [3, 1]\nr = f(x)\nassert r == sorted(x)", False),
        ("def f(x):\n    x.clear()\n    return []", "x = [3, 1]\nassert len(f(x)) == len(x)", False),
    ],
)
def test_a_function_may_change_its_arguments_and_return_a_value(check, code, tests, passes) -> None:
    verdict = check(PythonFunctionSpec(entry_point="f", tests=tests), code)
    assert verdict.outcome is (Outcome.PASS if passes else Outcome.FAIL), dict(verdict.evidence)


def test_ranges_and_views_are_no_lists_in_cases_either(check) -> None:
    spec = PythonFunctionSpec(entry_point="f", cases=({"args": [2], "expected": [0, 1]},))  # pyright: ignore[reportArgumentType]
    assert check(spec, "def f(n): return list(range(n))").passed
    for code in (
        "return range(n)",
        "return {i: i for i in range(n)}.keys()",
        "return __import__('collections').deque([0, 1])",
    ):
        assert check(spec, f"def f(n): {code}").reason is Reason.WRONG_ANSWER


@pytest.mark.parametrize(
    "value",
    [
        "10**5000",
        "[10**5000]",
        "{10**5000: (10**5000,)}",
        "__import__('fractions').Fraction(10**5000, 3)",
        "__import__('fractions').Fraction(10**4500, 7)",
        "__import__('decimal').Decimal('1e999999')",
        "'\\ud800' * 10",
        "float('nan')",
        "float('inf')",
        "[[[[[[[[[[[[[]]]]]]]]]]]]]",
        "(lambda d: [d := [d] for _ in range(99)][-1])([])",
        "(lambda d: [d := [d] for _ in range(101)][-1])([])",
        "range(10**30)",
        "range(10**12)",
        "{1: 3}.values()",
        "b'\\xff' * 1000",
        "object()",
        "NotImplemented",
        "...",
        "f",
    ],
)
def test_no_value_however_large_or_strange_aborts_a_verification(check, value) -> None:
    code = f"def f(x): return {value}"
    for spec in (
        PythonFunctionSpec(entry_point="f", tests="assert f(1) == 2"),
        PythonFunctionSpec(entry_point="f", tests="assert [f(1)] * 3 == 2\n"),
        PythonFunctionSpec(entry_point="f", cases=(Case(args=(1,), expected=2),)),
    ):
        verdict = check(spec, code)
        assert verdict.outcome is Outcome.FAIL, (verdict.reason, dict(verdict.evidence))
    verdict = check(ProgramOfThoughtSpec(answer="2"), f"f = 1\nanswer = {value}")
    assert verdict.outcome is Outcome.FAIL, (verdict.reason, dict(verdict.evidence))


def test_functions_that_are_given_or_returned_are_judged(check) -> None:
    spec = PythonFunctionSpec(
        entry_point="counter",
        tests="c = counter(lambda n: n + 2)\nassert c() == 2\nassert c() == 4\n",
    )
    code = (
        "def counter(step):\n    n = 0\n    def count():\n        nonlocal n\n        n = step(n)\n        return n\n"
        "    return count"
    )
    assert check(spec, code).passed
    assert check(spec, code.replace("n = step(n)", "n += 1")).reason is Reason.WRONG_ANSWER
    assert check(spec, "def counter(step):\n    return step").outcome is Outcome.FAIL


def test_a_function_that_is_given_may_call_the_one_that_is_tested(check) -> None:
    def depth(n: int) -> PythonFunctionSpec:
        back = "def back(n):\n    return 0 if n == 0 else f(back, n - 1)\n"
        return PythonFunctionSpec(entry_point="f", prelude=back, tests=f"assert f(back, {n}) == {n + 1}\n")

    code = "def f(g, n):\n    return g(n) + 1"
    assert check(depth(9), code).passed
    assert check(depth(9), code.replace("+ 1", "+ 2")).reason is Reason.WRONG_ANSWER
    assert check(depth(9), "def f(g, n):\n    return g(n) if n else 1 / 0").outcome is Outcome.FAIL
    assert check(depth(200), code).outcome is Outcome.FAIL  # the depth is the candidate's choice as well
    caught = "def f(g, n):\n    if n == 0: raise ValueError\n    try: return g(n) + 1\n    except ValueError: return 2"
    spec = PythonFunctionSpec(entry_point="f", tests="back = lambda n: f(back, n - 1)\nassert f(back, 2) == 3\n")
    assert check(spec, caught).passed


def test_an_object_that_the_tests_give_is_their_own_trouble_at_any_call(check) -> None:
    spec = PythonFunctionSpec(entry_point="f", tests="assert f(1) == 1\nassert f(object()) == 1\n")
    assert check(spec, "def f(x):\n    return 1").reason is Reason.TESTS_BROKEN


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        ("assert eval(f(3)) == 24", "def f(x): return 'no_such_name'"),
        ("assert eval(f(3)) == 24", "def f(x): return '('"),
        ("ns = {}\nexec(f(3), ns)\nassert ns['y'] == 24", "def f(x): return 'import no_such_module'"),
        ("ns = {}\nexec(f(3), ns)\nassert ns['y'] == 24", "def f(x): return 'raise SystemExit'"),
        ("import math\nassert getattr(math, f(3))(4) == 2", "def f(x): return 'root'"),
        ("import importlib\nassert importlib.import_module(f(3)).pi", "def f(x): return 'no_such_module'"),
        ("import sys\nif f(1) != 2: sys.exit(1)", "def f(x): return 0"),
    ],
)
def test_what_the_tests_make_of_an_answer_is_the_answers_fault(check, tests, code) -> None:
    verdict = check(PythonFunctionSpec(entry_point="f", tests=tests), code)
    assert verdict.reason is Reason.WRONG_ANSWER, verdict


@pytest.mark.parametrize(
    "tests",
    [
        "f(1)\nassert undefined == 2",
        "f(1)\nimport no_such_module.part",
        "f(1)\nfrom no_such_module.part import other",
        "f(1)\nfrom math import no_such_function",
        "import math\nf(1)\nassert math.no_such_function(1)",
        "import sys\nf(1)\nsys.exit()",
        "f(1)\nf(object())",
    ],
)
def test_what_the_tests_spell_out_is_their_own_fault(check, tests) -> None:
    verdict = check(PythonFunctionSpec(entry_point="f", tests=tests), "def f(x): return 2")
    assert verdict.reason is Reason.TESTS_BROKEN, verdict


def test_a_function_that_is_called_check_is_judged_by_its_tests_alone(check) -> None:
    spec = PythonFunctionSpec(entry_point="check", tests="assert check(70) == False\nassert check(23) == True")
    assert check(spec, "def check(n):\n    return n % 2 == 1").passed
    assert check(spec, "def check(n):\n    return True").reason is Reason.WRONG_ANSWER


@pytest.mark.slow
def test_a_small_value_that_keeps_the_tests_busy_fails_once_another_has_passed_them(check) -> None:
    tests = "n = f(1)\nassert sum(1 for a in range(n) for b in range(n) for c in range(n)) == 8"
    spec = PythonFunctionSpec(entry_point="f", tests=tests, cpu_s=0.5)
    busy, right = "def f(x): return 3000", "def f(x): return 2"
    before = check(spec, busy)
    assert before.reason is Reason.CHECK_TIMEOUT
    assert check(spec, right).passed
    after = check(spec, busy)
    if "wall limit" in (before.evidence["note"], after.evidence["note"]):
        pytest.skip("too busy a host to use up a limit on CPU time")
    assert after.reason is Reason.WRONG_ANSWER
    endless = spec.model_copy(update={"tests": f"{tests}\nwhile True: pass"})  # their own fault, whoever passes others
    assert check(endless, right).reason is Reason.CHECK_TIMEOUT
