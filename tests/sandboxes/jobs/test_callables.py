# ruff: noqa: E501 (programs in a line each)
"""Functions cross between judge and candidate: those that the tests give, and those that the candidate returns."""

from __future__ import annotations

import pytest

from berry.sandboxes import wire
from berry.sandboxes.base import JobOutcome, JudgeStatus, Limits
from berry.sandboxes.inside.callables import Callables, Stub

BRIEF = Limits(cpu_s=0.5, wall_s=1.0)
HEAVY = Limits(cpu_s=0.5, wall_s=20)
COMPOSE = "def f(g, h):\n    return lambda x: g(h(x))"
APPLY = "def f(g, values):\n    return [g(v) for v in values]"
COUNT = "def f():\n    n = 0\n    def step():\n        nonlocal n\n        n += 1\n        return n\n    return step"
MEMO = (
    "def f(g):\n    held = {}\n    def inner(x):\n        if x not in held:\n            held[x] = g(x)\n"
    "        return held[x]\n    return inner"
)


@pytest.mark.parametrize(
    ("source", "tests"),
    [
        (COMPOSE, "assert f(lambda x: x + 1, lambda x: 2 * x)(3) == 7"),
        (COMPOSE, "assert f(abs, f(abs, int))('-2') == 2"),
        (APPLY, "assert f(lambda x: x * x, [1, 2]) == [1, 4]\nassert f(str, [1]) == ['1']\nassert f(len, ['ab']) == [2]"),
        (COUNT, "c = f()\nassert callable(c) and c() == 1 and c() == 2 and f()() == 1"),
        (MEMO, "calls = []\ndef g(x):\n    calls.append(x)\n    return x\nm = f(g)\nassert m(1) == m(1) == 1 and calls == [1]"),
        ("def f(g):\n    return g", "def g(x): return x\nassert f(g) is g"),
        ("def f(kind):\n    return [v for v in (1, 'a', 2.5) if isinstance(v, kind)]", "assert f((int, str)) == [1, 'a']"),
        ("def f():\n    return {'add': lambda a, b: a + b, 'n': [len]}", "t = f()\nassert t['add'](1, b=2) == t['n'][0]('abc')"),
        (
            "def f(g):\n    try:\n        return g()\n    except ValueError as e:\n        return str(e)",
            "def g(): raise ValueError('no')\nassert f(g) == 'no'",
        ),
        ("def f():\n    def g(x):\n        raise KeyError(x)\n    return g", "try:\n    f()(1)\nexcept KeyError:\n    pass"),
        ("def f(g, values):\n    values.sort(key=g)", "v = ['aa', 'b']\nf(len, v)\nassert v == ['b', 'aa']"),
    ],
)  # fmt: skip
def test_functions_are_called_where_they_are(box, source, tests) -> None:
    result = box.judge(source, tests)
    assert result.passed, result


@pytest.mark.parametrize(
    ("source", "tests"),
    [
        ("def f(g, h):\n    return lambda x: h(g(x))", "assert f(lambda x: x + 1, lambda x: 2 * x)(3) == 7"),
        ("def f(x):\n    return f", "assert f(2) == 4"),
        ("def f(x):\n    return lambda *a: f", "assert f(2)(1) == 4"),
        ("def f(x):\n    return int", "assert f(2) == 2"),
    ],
)
def test_a_function_passes_for_no_value(box, source, tests) -> None:
    assert box.judge(source, tests).status is JudgeStatus.FAILED


@pytest.mark.slow
def test_what_a_function_of_the_tests_is_called_too_often_for_is_the_candidates(box) -> None:
    forever = box.judge("def f(g):\n    while True: g(1)", "assert f(lambda x: x) == 1", limits=BRIEF)
    assert forever.status is JudgeStatus.CANDIDATE
    heavy = box.judge("def f(g):\n    return g(10**9)", "assert f(lambda n: sum(range(n))) == 1", judge_limits=HEAVY)
    assert (heavy.status, heavy.candidate.outcome) == (JudgeStatus.CANDIDATE, JobOutcome.CPU_LIMIT)


@pytest.mark.parametrize(
    "body",
    [
        b'["back",99,{"~":"t","v":[]},{"~":"d","k":[],"v":[]}]',
        b'["back","0",[],[]]',
        b'["back"]',
        b'["back",{"~":"x","v":["judge",-1]}]',
    ],
)
def test_a_forged_request_calls_nothing_else(box, body) -> None:
    source = (
        f"import os, struct\ndef f(g):\n    b = {body!r}\n    os.write(3, struct.pack('=I', len(b)) + b)\n    return 1"
    )
    result = box.judge(source, "assert f(lambda x: x) == 2")
    assert result.status in (JudgeStatus.CANDIDATE, JudgeStatus.FAILED)


def test_a_function_of_the_tests_may_call_the_candidate_that_waits_for_it(box) -> None:
    tests = "assert f(lambda x: f(lambda y: y)) == 2"
    assert box.judge("def f(g):\n    return g(2)", tests).status is JudgeStatus.PASSED
    assert box.judge("def f(g):\n    return g(3)", tests).status is JudgeStatus.FAILED
    endless = box.judge("def f(g):\n    return g(2)", "h = lambda x: f(h)\nassert f(h) == 2")
    assert endless.status is JudgeStatus.CANDIDATE
    assert endless.candidate.error_type == "RecursionError"


def test_references_stand_only_where_they_may() -> None:
    data = wire.dumps([wire.Reference("judge", 3), wire.Reference("type", "int")])
    assert wire.loads(data, references=True) == [wire.Reference("judge", 3), wire.Reference("type", "int")]
    with pytest.raises(wire.WireError):
        wire.loads(data)
    for forged in (
        b'{"~":"x","v":["host",1]}',
        b'{"~":"x","v":["judge",true]}',
        b'{"~":"x","v":["judge",-1]}',
        b'{"~":"x"}',
    ):
        with pytest.raises(wire.WireError):
            wire.loads(forged, references=True)
    own = Callables("judge", lambda *_: None)
    given = own.outgoing([len, {"k": (len, 1)}, int])
    assert given == [wire.Reference("judge", 0), {"k": (wire.Reference("judge", 0), 1)}, wire.Reference("type", "int")]
    assert own.incoming(given) == [len, {"k": (len, 1)}, int]
    assert isinstance(own.incoming(wire.Reference("candidate", 0)), Stub)
    forged = own.incoming([wire.Reference("judge", 7), wire.Reference("type", "exec")])
    assert not any(map(callable, forged))
    assert own.outgoing(forged) == [wire.Reference("judge", 7), wire.Reference("type", "exec")]


FORGED = """
import json, os, struct
def send(x):
    b = json.dumps(x).encode()
    os.write(3, struct.pack("=I", len(b)) + b)
def f(x):
    send(["ok", [[{"~": "x", "v": REFERENCE}, TEXT], []], None, None, 0, 0, 0.0])
    while True: pass
"""
PASSES = "import json, os, struct; b = json.dumps([0.0, 'passed']).encode(); os.write(3, struct.pack('=I', len(b)) + b); os._exit(0)"


@pytest.mark.parametrize(
    "name", ["exec", "eval", "__import__", "open", "exit", "getattr", "type", "AssertionError", "~"]
)
def test_no_built_in_name_but_a_plain_type_crosses(box, name):
    source = FORGED.replace("REFERENCE", repr(["type", name])).replace("TEXT", repr(PASSES))
    result = box.judge(source, "function, text = f(1)\nfunction(text)\nassert f is None")
    assert result.status is not JudgeStatus.PASSED, result
    assert result.message == "TypeError: 'Forged' object is not callable", result


@pytest.mark.parametrize(
    "reference", [["judge", 10**9], ["judge", -1], ["candidate", 10**9], ["other", 0], ["judge", "0"], []]
)
def test_references_to_nothing_pass_nothing(box, reference):
    source = FORGED.replace("REFERENCE", repr(reference)).replace("TEXT", "1")
    result = box.judge(source, "function, text = f(1)\nassert function(text) == 2", limits=BRIEF)
    assert result.status in (JudgeStatus.CANDIDATE, JudgeStatus.FAILED, JudgeStatus.JUDGE_ERROR), result
    assert result.calls or result.status is JudgeStatus.CANDIDATE


def test_references_to_nothing_can_be_handed_back_and_so_excuse_nobody(box):
    source = FORGED.replace("REFERENCE", repr(["type", "exec"])).replace("TEXT", "1")
    result = box.judge(source, "a, b = f(1)\nassert f(a) == 7", limits=BRIEF)
    assert result.status in (JudgeStatus.CANDIDATE, JudgeStatus.FAILED), result
