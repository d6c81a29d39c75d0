"""The judge tells honest candidates from wrong ones, and its own troubles from theirs."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from berry.sandboxes.base import Call, Job, JudgeStatus, Limits, Outcome

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
    assert result.candidate.outcome is Outcome.RUNTIME_ERROR
    assert result.candidate.error_type == "IndexError"


DEATHS = {
    "spin": ("def f(x):\n    while True: pass", Outcome.CPU_LIMIT),
    "sleep": ("import time\ndef f(x): time.sleep(99)", Outcome.WALL_LIMIT),
    "eat": ("def f(x): return bytearray(1 << 40)", Outcome.MEMORY_LIMIT),
    "exit": ("import os\ndef f(x): os._exit(0)", Outcome.RUNTIME_ERROR),
    "object": ("def f(x): return object()", Outcome.UNSUPPORTED_VALUE),
    "syntax": ("def f(x: return", Outcome.COMPILE_ERROR),
    "missing": ("def g(x): return x", Outcome.MISSING_ENTRY_POINT),
    "socket": ("import socket\ndef f(x): socket.socket()", Outcome.VIOLATION),
    "load": ("1 / 0", Outcome.RUNTIME_ERROR),
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
    assert result.candidate.outcome is Outcome.OK


def test_arguments_that_are_not_plain_are_the_tests_error(box):
    result = box.judge("def f(g):\n    return g(1)", "assert f(lambda x: x) == 1")
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
