"""Sessions keep state between snippets, under limits over all of them."""

from __future__ import annotations

from berry.sandboxes.base import Job, JobOutcome, Limits


def _in_session(box, steps, source="", limits=None):
    async def work():
        async with box.pool.open(Job(source, limits=limits)) as session:
            return [session.loaded] + [await step(session) for step in steps]

    return box.wait(work())


def test_state_lives_between_snippets(box):
    _, first, second, third = _in_session(
        box,
        [
            lambda s: s.exec("a = [1]"),
            lambda s: s.exec("a.append(2)\na"),
            lambda s: s.exec("import os; os.getcwd(); a"),
        ],
    )
    assert first.value is None
    assert second.value == [1, 2]
    assert third.value == [1, 2]


def test_an_error_leaves_the_session_usable(box):
    _, bad, broken, good = _in_session(
        box, [lambda s: s.exec("x = 5\n1/0"), lambda s: s.exec("def ("), lambda s: s.exec("x")]
    )
    assert (bad.outcome, bad.error_type) == (JobOutcome.RUNTIME_ERROR, "ZeroDivisionError")
    assert broken.outcome is JobOutcome.COMPILE_ERROR
    assert good.value == 5


def test_output_belongs_to_its_snippet(box):
    _, a, b = _in_session(
        box, [lambda s: s.exec("print('a')"), lambda s: s.exec("import sys; print('b', file=sys.stderr)")]
    )
    assert (a.stdout, a.stderr) == (b"a\n", b"")
    assert (b.stdout, b.stderr) == (b"", b"b\n")


def test_a_value_that_is_not_plain_comes_as_text(box):
    _, value = _in_session(box, [lambda s: s.exec("object")])
    assert value.value == "<class 'object'>"


def test_functions_can_be_called(box):
    loaded, value, missing = _in_session(
        box, [lambda s: s.call("f", (2,), {"y": 3}), lambda s: s.call("g")], "def f(x, y): return x * y"
    )
    assert loaded.outcome is JobOutcome.OK
    assert value.value == 6
    assert missing.outcome is JobOutcome.MISSING_ENTRY_POINT


def test_limits_run_over_the_whole_session(box):
    spin = "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.15: pass"
    results = _in_session(box, [lambda s: s.exec(spin)] * 12, limits=Limits(cpu_s=0.5, wall_s=60))
    outcomes = [r.outcome for r in results]
    assert outcomes[1] is JobOutcome.OK
    assert outcomes[-1] is JobOutcome.CPU_LIMIT


def test_a_session_ends_with_its_process_and_says_why(box):
    _, dead, after = _in_session(box, [lambda s: s.exec("import os; os._exit(3)"), lambda s: s.exec("1")])
    assert dead.outcome is JobOutcome.RUNTIME_ERROR
    assert "status 3" in dead.error
    assert after == dead


def test_a_session_leaves_no_files(box):
    _in_session(box, [lambda s: s.exec("open('left', 'w').write('x')")])
    assert box.program("import os; print(os.listdir())").cases[0].stdout == b"[]\n"
