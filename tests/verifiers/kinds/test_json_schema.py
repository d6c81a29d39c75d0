"""JSON in a response: where it stands, whether it fits, and what hostile JSON does."""

from __future__ import annotations

import json

import pytest

from berry.pipeline.records import Problem
from berry.verifiers.base import Outcome, Reason
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.registry import fault
from berry.verifiers.specs.answers import JsonSchemaSpec

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}


async def check(response: str, **spec: object):
    made = JsonSchemaSpec.model_validate({"json_schema": POINT, **spec})
    return await Checker(CheckerConfig(slots=1)).check(CheckRequest("p", made, response))


@pytest.mark.parametrize(
    "response",
    ['{"x": 1}', '```json\n{"x": 1}\n```', 'First {"y": 2}, then: {"x": 1}. Done.', '<think>{}</think>{"x": 1}'],
)
async def test_json_is_found_where_it_stands(response) -> None:
    assert (await check(response)).passed


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ('{"x": 1.5}', Reason.WRONG_ANSWER), ('{"x": true}', Reason.WRONG_ANSWER),
        ('{"x": 1, "y": 2}', Reason.WRONG_ANSWER),
        ("no JSON", Reason.UNPARSABLE_ANSWER), ('{"x": 1, "x": 2}', Reason.UNPARSABLE_ANSWER),
        ('{"x": NaN}', Reason.UNPARSABLE_ANSWER), ("", Reason.NO_ANSWER),
        ('{"x": ' + "9" * 5000 + "}", Reason.UNPARSABLE_ANSWER),
        ("[" * 500 + "]" * 500, Reason.ANSWER_TOO_LARGE), ("[" * 100_000, Reason.UNPARSABLE_ANSWER),
    ],
)  # fmt: skip
async def test_what_does_not_fit_fails(response, reason) -> None:
    verdict = await check(response)
    assert verdict.reason is reason
    assert verdict.outcome is Outcome.FAIL


async def test_an_expected_value_is_compared_as_json() -> None:
    assert (await check('{"x": 1.0}', json_schema=True, expected={"x": 1})).passed
    assert not (await check('{"x": true}', json_schema=True, expected={"x": 1})).passed
    assert (await check("null", json_schema=True, expected=None)).passed
    assert not (await check("0", json_schema=True, expected=None)).passed


async def test_a_value_that_the_schemas_pattern_can_not_get_through_fails(monkeypatch) -> None:
    monkeypatch.setattr("berry.verifiers.kinds.json_schema.PATTERN_S", 0.1)
    slow = {"type": "string", "pattern": "^(a|aa)+$"}
    verdict = await check(json.dumps("a" * 200 + "b"), json_schema=slow)
    assert verdict.outcome is Outcome.FAIL


def test_schemas_that_are_none_are_refused_and_good_ones_come_back_from_a_file() -> None:
    assert "no JSON Schema" in (fault(JsonSchemaSpec(json_schema={"type": "number of things"})) or "")
    assert "does not fit" in (fault(JsonSchemaSpec.model_validate({"json_schema": POINT, "expected": {}})) or "")
    with pytest.raises(ValueError, match="json_schema"):
        JsonSchemaSpec()
    raw = {"id": "p", "prompt": "q", "verifier": {"type": "json_schema", "json_schema": POINT, "expected": {"x": 1}}}
    problem = Problem.model_validate(raw)
    assert Problem.model_validate_json(problem.model_dump_json()) == problem


@pytest.mark.parametrize(
    "response",
    [
        '~~~json\n{"x": 1}\n~~~\nand `{"x": 2.5}` is none',
        '```json\n{"x": 1}\n```\n```text\nno JSON\n```',
        '````\n{"x": 1}\n````',
        'Open to the end:\n```json\n{"x": 1}',
    ],
)
async def test_fenced_json_is_found_as_programs_are(response) -> None:
    assert (await check(response)).passed
