"""JSON in a response: where it stands, whether it fits, and what hostile JSON does."""

from __future__ import annotations

import json

import pytest

from berry.pipeline.records import Problem
from berry.verifiers.base import Outcome, Reason
from berry.verifiers.registry import fault
from berry.verifiers.specs.answers import JsonSchemaSpec
from tests.verifiers.conftest import Check

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}


@pytest.fixture
def ask(check: Check):
    """ask(response, json_schema=…, expected=…) -> Verdict."""
    return lambda response, **spec: check(JsonSchemaSpec.model_validate({"json_schema": POINT, **spec}), response)


@pytest.mark.parametrize(
    "response",
    ['{"x": 1}', '```json\n{"x": 1}\n```', 'First {"y": 2}, then: {"x": 1}. Done.', '<think>{}</think>{"x": 1}'],
)
def test_json_is_found_where_it_stands(ask, response) -> None:
    assert ask(response).passed


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
def test_what_does_not_fit_fails(ask, response, reason) -> None:
    verdict = ask(response)
    assert verdict.reason is reason
    assert verdict.outcome is Outcome.FAIL


def test_an_expected_value_is_compared_as_json(ask) -> None:
    assert ask('{"x": 1.0}', json_schema=True, expected={"x": 1}).passed
    assert not ask('{"x": true}', json_schema=True, expected={"x": 1}).passed
    assert ask("null", json_schema=True, expected=None).passed
    assert not ask("0", json_schema=True, expected=None).passed


TREE = {"$ref": "#/$defs/n", "$defs": {"n": {"oneOf": [{"type": "integer"}, *(
    {"type": "object", "properties": {"l": {"$ref": "#/$defs/n"}, "op": {"const": op}}, "required": ["op", "l"]}
    for op in ("a", "b"))]}}}  # fmt: skip


@pytest.mark.parametrize(
    ("schema", "response"),
    [
        ({"type": "string", "pattern": "^(a|aa)+$"}, json.dumps("a" * 200 + "b")),
        ({"patternProperties": {"^(a|aa)+$": {}}}, json.dumps({"a" * 200 + "b": 1})),
        (TREE, '{"op": "a", "l": ' * 60 + "0.5" + "}" * 60),
        ({"type": "array", "uniqueItems": True}, json.dumps([[i] if i % 2 else {"i": i} for i in range(20_000)])),
        ({"type": "number", "multipleOf": 0.5}, "1" + "0" * 400),
        ({"type": "number", "multipleOf": 0.5}, "[1e999]"[1:-1]),
    ],
)
def test_a_value_that_the_schema_can_not_get_through_fails(ask, schema, response) -> None:
    verdict = ask(f"```json\n{response}\n```", json_schema=schema)
    assert verdict.outcome is Outcome.FAIL, verdict


def test_a_schema_that_gets_through_nothing_is_the_problems_fault(ask) -> None:
    for schema in ({"$ref": "#"}, {"$ref": "https://example.org/s.json"}):
        assert ask('{"x": 1}', json_schema=schema).reason is Reason.TESTS_BROKEN


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
def test_fenced_json_is_found_as_programs_are(ask, response) -> None:
    assert ask(response).passed
