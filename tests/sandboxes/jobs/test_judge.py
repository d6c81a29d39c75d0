"""The judge tells honest candidates from wrong ones, and its own troubles from theirs."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from berry.sandboxes.base import Call, Job, JobOutcome, JudgeStatus, Limits
from berry.sandboxes.inside import judge as inside_judge

F = "def f(x):\n    return x + 1"


def test_bare_asserts_and_check_functions_judge(box):
    assert box.judge(F, "assert f(1) == 2").passed
    assert box.judge(F, "def check(candidate):\n    assert candidate(1) == 2").passed
    assert box.judge(F, "assert candidate(1) == 2").passed


def test_a_failed_assertion_is_told_with_its_call(box):
    result = box.judge(F, "assert f(1) == 2\nassert f(2) == 4, 'two'")
    assert result.status is JudgeStatus.FAILED
    assert (result.message, result.line, result.args, result.got, result.calls) == ("two", 2, (2,), 3, 2)


def test_broken_tests_are_the_judges_error(box):
    for tests in ("assert f(1) == undefined", "def f(", "import nothing_there", "1/0"):
        assert box.judge(F, tests).status is JudgeStatus.JUDGE_ERROR


def test_a_prelude_serves_the_tests(box):
    prelude = "import math\ndef helper(x):\n    return x + 1\ndef f(x):\n    '''to be written'''\n"
    assert box.judge(F, "assert f(1) == helper(1) and math.pi", prelude=prelude).passed


def test_expected_exceptions_reach_the_tests(box):
    tests = "try:\n    f(-1)\nexcept ValueError as e:\n    assert str(e) == 'negative'\nelse:\n    assert False"
    assert box.judge("def f(x):\n    raise ValueError('negative')", tests).passed
    assert box.judge("def f(x):\n    return 0", tests).status is JudgeStatus.FAILED
    assert (
        box.judge("class Own(Exception): pass\ndef f(x): raise Own('negative')", tests).status is JudgeStatus.CANDIDATE
    )


def test_an_exception_nobody_expected_is_the_candidates(box):
    result = box.judge("def f(x): return [][0]", "assert f(1) == 2")
    assert result.status is JudgeStatus.CANDIDATE
    assert result.candidate.outcome is JobOutcome.RUNTIME_ERROR
    assert result.candidate.error_type == "IndexError"


DEATHS = {
    "spin": ("def f(x):\n    while True: pass", JobOutcome.CPU_LIMIT),
    "sleep": ("import time\ndef f(x): time.sleep(99)", JobOutcome.WALL_LIMIT),
    "eat": ("def f(x): return bytearray(1 << 40)", JobOutcome.MEMORY_LIMIT),
    "exit": ("import os\ndef f(x): os._exit(0)", JobOutcome.RUNTIME_ERROR),
    "object": ("def f(x): return object()", JobOutcome.UNSUPPORTED_VALUE),
    "syntax": ("def f(x: return", JobOutcome.COMPILE_ERROR),
    "missing": ("def g(x): return x", JobOutcome.MISSING_ENTRY_POINT),
    "socket": ("import socket\ndef f(x): socket.socket()", JobOutcome.VIOLATION),
    "load": ("1 / 0", JobOutcome.RUNTIME_ERROR),
}


@pytest.mark.parametrize("death", DEATHS)
def test_the_candidates_end_is_told(box, death):
    source, outcome = DEATHS[death]
    result = box.judge(source, "assert f(1) == 2", limits=Limits(cpu_s=0.3, wall_s=1.0 if death == "sleep" else 20))
    assert result.status is JudgeStatus.CANDIDATE
    assert result.candidate.outcome is outcome, result


def test_a_slow_judge_is_not_the_candidates_fault(box):
    async def work():
        job = Job(F, entry_point="f")
        return await box.pool.judge(job, "while True: pass", limits=Limits(cpu_s=0.2, wall_s=20))

    result = box.wait(work())
    assert result.status is JudgeStatus.JUDGE_LIMIT
    assert result.candidate.outcome is JobOutcome.OK


def test_time_that_the_tests_take_is_not_the_candidates(box):
    tests = "import time\nassert f(1) == 2\ntime.sleep(0.8)\nassert f(2) == 3"
    assert box.judge(F, tests, limits=Limits(cpu_s=5, wall_s=0.6)).passed


def test_a_candidates_calls_share_its_wall_limit(box):
    slow = "import time\ndef f(x):\n    time.sleep(0.3)\n    return x + 1"
    result = box.judge(slow, "for i in range(9): assert f(i) == i + 1", limits=Limits(cpu_s=5, wall_s=0.8))
    assert (result.status, result.candidate.outcome) == (JudgeStatus.CANDIDATE, JobOutcome.WALL_LIMIT), result
    assert result.calls < 5


def test_arguments_that_are_not_plain_are_the_tests_error(box):
    result = box.judge("def f(g):\n    return 1", "assert f(object()) == 1")
    assert result.status is JudgeStatus.JUDGE_ERROR


def test_a_pass_without_calls_is_visible(box):
    assert box.judge(F, "pass").calls == 0


def _humaneval() -> list[dict]:
    folder = os.environ.get("BERRY_DATA")
    path = Path(folder or "") / "HumanEval.jsonl.gz"
    if not folder or not path.exists():
        pytest.skip("BERRY_DATA names no folder with HumanEval.jsonl.gz")
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_every_canonical_solution_passes_while_both_cores_are_busy(make_box):
    rows = _humaneval()
    spin = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        box = make_box(slots=2, calibration=None)
        for row in rows:
            source = row["prompt"] + row["canonical_solution"]
            result = box.judge(source, row["test"], row["entry_point"], limits=Limits(), prelude=row["prompt"])
            assert result.passed, (row["task_id"], result)
            wrong = box.judge(
                f"def {row['entry_point']}(*args, **kwargs):\n    return None",
                row["test"], row["entry_point"], limits=Limits(), prelude=row["prompt"],
            )  # fmt: skip
            assert not wrong.passed, row["task_id"]
    finally:
        for process in spin:
            process.kill()
            process.wait()


def test_calls_carry_keywords(box):
    job = Job("def f(a, *, b): return a - b", entry_point="f", calls=(Call((5,), {"b": 3}),))
    assert box.run(job).cases[0].value == 2


HANDLED = {
    "try": "try:\n    f(1)\nexcept {kind}:\n    pass",
    "try of a base": "try:\n    f(1)\nexcept Exception as e:\n    assert type(e) is {kind}",
    "suppress": "import contextlib\nwith contextlib.suppress({kind}):\n    f(1)",
    "assertRaises": "import unittest\nt = unittest.TestCase()\nwith t.assertRaises({kind}):\n    f(1)",
    "assertRaises of a function": "import unittest\nunittest.TestCase().assertRaises({kind}, f, 1)",
    "in a function": "def check(candidate):\n    try: candidate(1)\n    except {kind}: return\n    assert False",
}


@pytest.mark.parametrize("kind", ["StopIteration", "AttributeError", "IndexError", "KeyError", "ValueError"])
@pytest.mark.parametrize("tests", HANDLED.values(), ids=HANDLED)
def test_an_exception_that_the_tests_catch_is_what_they_wanted(box, tests, kind):
    tests = tests.format(kind=kind)
    assert box.judge(f"def f(x):\n    raise {kind}('x')", tests).passed
    result = box.judge("def f(x):\n    raise ZeroDivisionError('x')", tests)
    assert result.status in (JudgeStatus.CANDIDATE, JudgeStatus.FAILED)


SWALLOWED = {
    "all of map": ("StopIteration", "assert all(map(lambda x: f(x) == x + 1, [1, 2]))"),
    "zip": ("StopIteration", "for a, b in zip(map(f, [1, 2]), [2, 3]):\n    assert a == b"),
    "list": ("StopIteration", "got = list(map(f, [1, 2]))\nfor g in got: assert g == 0"),
    "iter": ("StopIteration", "class I:\n    def __iter__(self): return self\n    def __next__(self): return f(1)\n"
             "for g in I(): assert g == 0"),
    "getitem": ("IndexError", "class S:\n    def __getitem__(self, i): return f(i)\nfor g in S(): assert g == 0"),
    "hasattr": ("AttributeError", "class P:\n  @property\n  def x(_): return f(1) != 2\nassert not hasattr(P(), 'x')"),
    "getattr": ("AttributeError", "class P:\n  @property\n  def x(_): return f(1) == 2\nassert getattr(P(), 'x', 1)"),
    "a generator": ("StopIteration", "assert all(f(x) == x + 1 for x in [1, 2])"),
    "a second one": ("StopIteration", "try:\n    f(1)\nexcept StopIteration:\n    pass\nassert all(map(f, [1]))"),
    "return in finally": ("ValueError", "def check(candidate):\n    try:\n        assert candidate(1) == 2\n"
                          "    finally:\n        return"),
    "another kind is caught": ("StopIteration", "def g():\n    yield f(1)\ntry: next(g())\nexcept RuntimeError: pass"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "tests"), SWALLOWED.values(), ids=SWALLOWED)
def test_an_exception_that_the_language_swallows_passes_nothing(box, kind, tests):
    result = box.judge(f"def f(x):\n    raise {kind}('x')", tests)
    assert result.status is JudgeStatus.CANDIDATE, result
    assert kind in (result.message or "")


def test_arguments_that_the_candidate_changed_are_seen_by_the_tests(box):
    tests = "x = [3, 1, 2]\nassert f(x) is None\nassert x == [1, 2, 3]"
    assert box.judge("def f(x): x.sort()", tests).passed
    assert box.judge("def f(x): x = sorted(x)", tests).status is JudgeStatus.FAILED
    assert box.judge("def f(x): x.clear()", tests).status is JudgeStatus.FAILED
    tests = "d, s, m = {'a': 1}, {1}, [[0], [0]]\nf(d, s, m=m)\nassert (d, s, m) == ({'b': 2}, {1, 2}, [[9], [0]])"
    source = "def f(d, s, m):\n    d.pop('a')\n    d['b'] = 2\n    s.add(2)\n    m[0][0] = 9"
    assert box.judge(source, tests).passed
    assert not box.judge(source, tests, changes=False).passed
    from_outside = "from collections import deque\nq = deque([1, 2])\nf(q)\nassert q == deque([2, 1])"
    assert box.judge("def f(q): q.rotate(1)", from_outside).passed


def test_a_change_of_type_alone_and_one_beside_a_function_are_changes(box):
    assert box.judge("def f(x): x[0] = 1.0", "a = [1]\nf(a)\nassert type(a[0]) is float").passed
    assert box.judge("def f(x): x.append(x[0](-2))", "a = [abs]\nf(a)\nassert a == [abs, 2]").passed
    kept = box.judge("def f(x, y): x[0] = 2", "a, b = [1], {3}\nf(a, y=b)\nassert (a, b) == ([2], {3})")
    assert kept.passed


def test_unchanged_arguments_stay_the_same_objects(box):
    tests = "inner = [1]\nx = [inner, 2]\nassert f(x, x) == 2\nassert x[0] is inner\nassert f([], (1, [2])) == 2"
    assert box.judge("def f(x, y): return len(y)", tests).passed
    both = "x = [1]\nf(x, x)\nassert x == [1, 2]"
    assert box.judge("def f(x, y): x.append(2)", both).passed


def test_changing_an_argument_and_returning_a_value_is_told(box):
    assert box.judge("def f(x): return x.pop()", "assert f([1, 2]) == 2").changed_and_returned
    assert not box.judge("def f(x): return x[-1]", "assert f([1, 2]) == 2").changed_and_returned
    assert not box.judge("def f(x): x.pop()", "assert f([1, 2]) is None").changed_and_returned


def test_changes_that_are_no_plain_data_are_the_candidates_fault(box):
    result = box.judge("def f(x):\n    x.append(object())\n    return 1", "assert f([]) == 1")
    assert (result.status, result.candidate.outcome) == (JudgeStatus.CANDIDATE, JobOutcome.UNSUPPORTED_VALUE)
    big = "x = list(range(100000))\nassert f(x) == 99999"
    assert box.judge(
        "def f(x):\n    x.reverse()\n    return x[0]", big, limits=Limits()
    ).passed  # too large to carry: not seen


def test_a_value_too_deep_for_its_way_is_the_candidates_fault(box):
    for depth in (95, 97, 98, 99, 100, 101, 150):
        source = f"def f(x):\n    v = []\n    for _ in range({depth}): v = [v]\n    return v"
        result = box.judge(source, "assert f(1) == 1\n")
        assert result.status in (JudgeStatus.FAILED, JudgeStatus.CANDIDATE), (depth, result)
        result = box.judge(source, "assert f([[f(1)]]) == 1\n")
        assert result.status is not JudgeStatus.PASSED
        assert result.calls or result.status is JudgeStatus.CANDIDATE, (depth, result)


def test_ranges_and_views_are_no_lists(box):
    assert box.judge("def f(n): return range(n)", "assert f(3) == [0, 1, 2]").status is JudgeStatus.FAILED
    assert box.judge("def f(n): return range(n)", "assert list(f(3)) == [0, 1, 2]").passed
    keys = "def f(n): return {i: i for i in range(n)}.keys()"
    assert box.judge(keys, "assert f(2) == [0, 1]").status is JudgeStatus.FAILED
    assert box.judge(keys, "assert sorted(f(2)) == [0, 1]").passed
    queue = "from collections import deque\ndef f(n): return deque(range(n))"
    assert box.judge(queue, "assert f(2) == [0, 1]").status is JudgeStatus.FAILED
    assert box.judge(queue, "assert list(f(2)) == [0, 1]").passed


@pytest.mark.parametrize(
    "tests", ["try: f(1)\nexcept E: pass", "if 1:\n\twith a: f(1)", "x\r \fwith a: f(1)", "try: f(1)\nexcept* E: pass"]
)
def test_statements_that_stop_exceptions_are_found(tests):
    assert inside_judge._STOPS_EXCEPTIONS(tests)


@pytest.mark.parametrize("tests", ["assert f('except with') == 1", "# without\nwithin = excepted = f(1)", ""])
def test_tests_that_stop_no_exception_are_left_as_they_are(tests):
    assert not inside_judge._STOPS_EXCEPTIONS(tests)
