"""A function of the user's own, confined."""

from __future__ import annotations

import pytest

from berry.verifiers.base import Reason
from berry.verifiers.specs.union import CustomSpec

SOURCE = """
import socket

def polite(response, prompt, word="please"):
    return {"passed": word in response, "answer": word, "length": len(response)}

def unsure(response, prompt):
    return None

def broken(response, prompt):
    raise ValueError("oops")

def sly(response, prompt):
    return "yes"

def online(response, prompt):
    socket.create_connection(("1.1.1.1", 53), timeout=1)
    return True

def spins(response, prompt):
    while True:
        pass
"""


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "checks.py"
    path.write_text(SOURCE)
    return str(path)


@pytest.mark.parametrize(
    ("name", "response", "reason"),
    [
        ("polite", "please", Reason.CORRECT),
        ("polite", "now!", Reason.WRONG_ANSWER),
        ("unsure", "x", Reason.NOT_CHECKED),
        ("broken", "x", Reason.TESTS_BROKEN),
        ("sly", "x", Reason.TESTS_BROKEN),
        ("online", "x", Reason.TESTS_BROKEN),
        ("missing", "x", Reason.TESTS_BROKEN),
    ],
)
def test_a_file(check, file, name, response, reason) -> None:
    assert check(CustomSpec(function=f"{file}:{name}"), response).reason is reason


@pytest.mark.slow
def test_a_check_that_never_ends_is_unverifiable(check, file) -> None:
    assert check(CustomSpec(function=f"{file}:spins"), "x").reason is Reason.CHECK_TIMEOUT


def test_options_and_evidence(check, file) -> None:
    verdict = check(CustomSpec(function=f"{file}:polite", options={"word": "now"}), "now!")
    assert (verdict.passed, verdict.answer, verdict.evidence["length"]) == (True, "now", 4)


def test_what_is_not_there_is_a_missing_tool(check) -> None:
    assert check(CustomSpec(function="/nowhere/at_all.py:f"), "x").reason is Reason.MISSING_TOOL
    assert check(CustomSpec(function="no_such_package_here.mod:f"), "x").reason is Reason.MISSING_TOOL


def test_an_importable_module(check) -> None:
    spec = CustomSpec(function="berry.verifiers.kinds.programs.plain_values:same_value")
    assert check(spec, "the prompt", "the prompt").passed
    assert check(spec, "a", "b").reason is Reason.WRONG_ANSWER


def test_a_response_that_the_function_alone_fails_over_is_wrong(check, tmp_path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "def f(response, prompt):\n"
        "    if response == 'spin':\n        while True: pass\n"
        "    if response == 'odd': return 'yes'\n"
        "    return response != '' and int(response) == 42\n"
    )
    spec = CustomSpec(function=f"{path}:f")
    assert check(spec, "42").passed
    for response in ("41", "banana", "odd", "9" * 5000):
        assert check(spec, response).reason is Reason.WRONG_ANSWER, response


def test_strange_evidence_is_kept_as_far_as_it_can_be_shown(check, tmp_path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "def f(response, prompt):\n"
        "    return {'passed': True, 10**5000: 10**5000, 'deep': [10**5000], 'note': '\\ud800', 'x' * 999: 1}\n"
    )
    verdict = check(CustomSpec(function=f"{path}:f"), "x")
    assert verdict.passed
    assert verdict.evidence["deep"] == "a list that is too large to be written down"
    assert max(map(len, verdict.evidence)) < 120


def test_an_example_tells_a_function_that_wants_json_from_a_broken_one(check) -> None:
    picky = "import json\n\ndef f(response, prompt):\n    return json.loads(response)['a'] == 1\n"
    broken = "def f(response, prompt):\n    return no_such_name\n"
    for source, example, reason in (
        (picky, None, Reason.TESTS_BROKEN),
        (picky, '{"a": 2}', Reason.WRONG_ANSWER),
        (picky, "no json", Reason.TESTS_BROKEN),
        (broken, '{"a": 2}', Reason.TESTS_BROKEN),
    ):
        spec = CustomSpec(function="f.py:f", source=source, example=example)
        assert check(spec, "a is 1").reason is reason, (source, example)
        assert source is broken or check(spec, '{"a": 1}').passed
