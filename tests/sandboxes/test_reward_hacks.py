"""Candidates that can't add one to a number and try to be paid for it. None passes, by tests or by cases.

The problem: `f(x)` returns x + 1. Each candidate attacks one thing and is named after it. Whatever it does,
the verdict must be against it: never a pass, and never "could not check" either, which would let it go free.
"""

from __future__ import annotations

import pytest

from berry.sandboxes.attacks.verdicts import FRAME, HACKS, TESTS
from berry.sandboxes.base import Call, Job, JobOutcome, JudgeStatus


@pytest.mark.parametrize("hack", HACKS)
def test_no_hack_passes_the_tests(box, hack):
    result = box.judge(HACKS[hack], TESTS)
    assert result.status in (JudgeStatus.FAILED, JudgeStatus.CANDIDATE), result


@pytest.mark.slow
@pytest.mark.parametrize("hack", HACKS)
def test_no_hack_gives_the_right_value(box, hack):
    result = box.call(HACKS[hack], 41)
    assert result.outcome is JobOutcome.OK or result.outcome.blames_program, result
    value = result.cases[0].value
    assert not (type(value) is int and value == 42)


def test_state_does_not_pass_between_fresh_cases(box):
    source = "n = 0\ndef f(x):\n    global n\n    n += 1\n    return n"
    calls = tuple(Call((i,)) for i in range(3))
    shared = box.run(Job(source, entry_point="f", calls=calls))
    fresh = box.run(Job(source, entry_point="f", calls=calls, fresh_per_case=True))
    assert [c.value for c in shared.cases] == [1, 2, 3]
    assert [c.value for c in fresh.cases] == [1, 1, 1]


def test_state_does_not_pass_between_fresh_cases_through_files(box):
    source = "import os\ndef f(x):\n    open('left', 'a').write('x')\n    return os.path.getsize('left')"
    fresh = box.run(Job(source, entry_point="f", calls=(Call((1,)), Call((2,))), fresh_per_case=True))
    assert [c.value for c in fresh.cases] == [1, 1]


def test_state_does_not_pass_between_calls_of_a_fresh_trial(box):
    source = "n = 0\ndef f(x):\n    global n\n    n += 1\n    return n"
    tests = "assert candidate(0) == 1\nassert candidate(0) == 1"
    assert box.judge(source, tests).status is JudgeStatus.FAILED
    job = Job(source, entry_point="f", fresh_per_case=True)
    assert box.wait(box.pool.judge(job, tests)).passed


def test_results_of_later_calls_can_not_be_sent_early(box):
    source = (
        FRAME
        + "def f(x):\n    for v in (2, 42):\n        os.write(3, frame(['ok', v, None, None, 0, 0]))\n    return 0"
    )
    result = box.run(Job(source, entry_point="f", calls=(Call((1,)), Call((41,)))))
    assert result.outcome is JobOutcome.VIOLATION


def test_an_honest_candidate_passes(box):
    result = box.judge("def f(x):\n    return x + 1", TESTS)
    assert result.passed
    assert result.calls == 3
