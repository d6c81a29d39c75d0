"""What a model may write as the arguments of a call, and what it is told where they don't fit."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.config.sections.rollout.tools import CustomTool, PythonTool, SqlTool
from berry.pipeline.stages.tools.arguments import of_object, of_text


def custom(**properties: Any) -> CustomTool:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return CustomTool(target="own.py:Own", source="class Own:\n    name = 'own'\n", parameters=schema)


LOOKUP = custom(word={"type": "string"})
DICE = custom(count={"type": "integer", "minimum": 1})


@pytest.mark.parametrize(
    ("tool", "body", "text", "fault"),
    [
        (PythonTool(), "6 * 7", "6 * 7", None),
        (SqlTool(), "select 1", "select 1", None),
        (LOOKUP, "boat", '{"word": "boat"}', None),
        (DICE, '{"count": 2}', '{"count": 2}', None),
        (DICE, "2", "2", "own takes an object of arguments, not 2"),
        (DICE, "two", "two", "own takes its arguments as JSON: Expecting value: line 1 column 1 (char 0)"),
        (DICE, '{"count": 0}', '{"count": 0}', "own can't be called so: $.count: 0 is less than the minimum of 1"),
        (DICE, "", "", "own can't be called so: $: 'count' is a required property"),
    ],
)
def test_a_block_of_text(tool: Any, body: str, text: str, fault: str | None) -> None:
    assert of_text(tool, body) == (text, fault)


@pytest.mark.parametrize(
    ("tool", "arguments", "text", "fault"),
    [
        (PythonTool(), {"code": "1"}, "1", None),
        (SqlTool(), {"query": "select 1"}, "select 1", None),
        (SqlTool(), {"sql": "select 1"}, "body", 'sql takes {"query": "…"} as its arguments'),
        (DICE, {"count": 3}, '{"count": 3}', None),
        (DICE, None, "body", "own takes an object of arguments, not null"),
        (DICE, {"count": "3"}, "body", "own can't be called so: $.count: '3' is not of type 'integer'"),
    ],
)
def test_arguments_in_json(tool: Any, arguments: Any, text: str, fault: str | None) -> None:
    assert of_object(tool, arguments, "body") == (text, fault)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="tools must have different names, got python, Python: set `name`"):
        Rollout(tools=(PythonTool(), PythonTool(name="Python")))
