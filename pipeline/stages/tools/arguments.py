"""Reads the arguments of a tool call as the model wrote them, and says what is wrong with them in words for the model.

written as a block of text ─► of_text          written as JSON ─► of_object          ─► the text of a call, or a fault
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from berry.pipeline.config.sections.rollout.tools import CustomTool, Tool
from berry.verifiers.kinds.texts.json_schema import mismatch


class CallText(NamedTuple):
    """The text with which a call is made, or why it can't be."""

    text: str
    fault: str | None = None


def of_text(tool: Tool, body: str) -> CallText:
    """A call whose body is a block of text: the one text that the tool takes, else its arguments as JSON."""
    if not isinstance(tool, CustomTool):
        return CallText(body)
    only = _only_text(tool)
    if only is not None:
        return of_object(tool, {only: body}, body)
    try:
        return of_object(tool, json.loads(body or "{}"), body)
    except ValueError as error:
        return CallText(body, f"{tool.name} takes its arguments as JSON: {error}")


def of_object(tool: Tool, arguments: Any, body: str) -> CallText:
    """A call whose arguments are a JSON object; `body`: all that was written."""
    if not isinstance(tool, CustomTool):
        [name] = tool.parameters["properties"]
        text = arguments.get(name) if isinstance(arguments, dict) else None
        if not isinstance(text, str):
            return CallText(body, f'{tool.name} takes {{"{name}": "…"}} as its arguments')
        return CallText(text)
    if not isinstance(arguments, dict):
        return CallText(body, f"{tool.name} takes an object of arguments, not {json.dumps(arguments)[:80]}")
    wrong = mismatch(tool.parameters, arguments)
    if wrong is not None:
        return CallText(body, f"{tool.name} can't be called so: {wrong}")
    return CallText(json.dumps(arguments, sort_keys=True, ensure_ascii=False))


def _only_text(tool: CustomTool) -> str | None:
    """The name of the tool's one parameter, where that is a text."""
    properties = tool.parameters.get("properties", {})
    if len(properties) != 1:
        return None
    [(name, schema)] = properties.items()
    return name if isinstance(schema, dict) and schema.get("type") == "string" else None
