"""Makes conversations of responses that hold turns of tools or of an environment, as trainers of several turns read.

    path of a leaf ─► turns (the model's text | what was given, without what the template puts around it) ─► messages

A call stands in `tool_calls` where the chat template writes it there token by token as the model did, else in the
turn's text. Calls in the midst of a turn (`fenced`, `tag`) make no turns: their runs have no conversations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from jinja2 import TemplateError

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.tools import TemplateCalls, Tool, TurnCalls
from berry.pipeline.core.tree_view import NodeView
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.errors import InputError
from berry.pipeline.schema import MESSAGE

Turn = dict[str, Any]
ToolsKind = Literal["json", "columns", "none"]
_TYPES = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}
_ASKED: Turn = {"role": "user", "content": "6 * 7?"}


class ToolsColumn(NamedTuple):
    """The column of the tools' descriptions: its Arrow type, and what every row has."""

    type: pa.DataType
    value: Any


@dataclass(frozen=True, slots=True)
class Conversations:
    """How a run's responses become conversations. `message`: the Arrow type of one; `tools`: their descriptions, as the
    chat template was given them; `calls`: the format whose calls stand in `tool_calls`, None where all are text."""

    render: Callable[[Sequence[Turn]], list[int]]
    decode: Callable[[Sequence[int]], str]
    content_of: Callable[[str, Sequence[int]], str | None]
    message: pa.StructType
    tools: list[dict[str, Any]]
    calls: TemplateCalls | None

    def messages(self, messages: Sequence[Turn]) -> list[Turn]:
        """Messages as a trainer reads them from a file: with all its columns."""
        return pa.array(messages, self.message).to_pylist()

    @property
    def where_calls_are(self) -> str:
        """Where a reader finds calls, for cards."""
        if not self.tools:
            return "nowhere, there are none"
        return "`tool_calls`, or `content` where they were written otherwise" if self.calls else "`content`"

    def tools_as(self, kind: ToolsKind) -> ToolsColumn | None:
        """The tools' descriptions as a column that a trainer gives the chat template; None where there are no tools.
        Raises InputError where the template would be given others than the model was."""
        if not self.tools:
            return None
        if kind == "json":
            return ToolsColumn(pa.string(), json.dumps(self.tools, ensure_ascii=False))
        if kind == "none":
            raise InputError(
                "--for openrlhf: responses call tools, of which OpenRLHF tells its chat template nothing: the model "
                "would learn to call what it was not told of; --for trl or --for verl, or --tokens"
            )
        column = pa.array([self.tools]) if _has_no_empty_struct(self.tools) else None
        if column is None or json.dumps(column[0].as_py()) != json.dumps(self.tools):
            raise InputError(
                "--for verl: it reads the tools' descriptions from columns, in which tools of different parameters "
                "are given each other's as empty ones; --for trl, or --tokens"
            )
        return ToolsColumn(column.type, self.tools)

    def turns(self, path: Sequence[NodeView]) -> list[Turn]:
        """The turns behind the prompt, `path` from the first node below it: the model's, and what answered each. What
        stands around a result otherwise than the template puts it stays in it, so that it compares as changed."""
        turns: list[Turn] = []
        ids: list[int] = []
        for node in path:
            if node.given is None:
                ids.extend(node.tokens)
                continue
            turns.append(self._said(ids))
            content = self.content_of(node.given.role, node.tokens)
            answer = {"role": node.given.role, "content": node.text or "" if content is None else content}
            called = turns[-1].get("tool_calls")
            turns.append({**answer, "name": called[0]["function"]["name"]} if called else answer)
            ids = []
        return self.messages([*turns, self._said(ids)] if ids or not turns else turns)

    def _said(self, ids: Sequence[int]) -> Turn:
        """A turn of the model, its call in `tool_calls` where that renders to the same tokens."""
        text = self.decode(ids)
        as_text: Turn = {"role": "assistant", "content": text}
        structured = None if self.calls is None else _structured(self.calls, text)
        return as_text if structured is None or not self.renders_as(structured, as_text) else structured

    def renders_as(self, structured: Turn, as_text: Turn) -> bool:
        """Whether a trainer's template writes a call in `tool_calls` as it stands in the text."""
        try:
            asked, read = self.messages([_ASKED, structured])
            return self.render([asked, read]) == self.render([_ASKED, as_text])
        except (TemplateError, pa.ArrowInvalid, pa.ArrowTypeError, TypeError):
            return False


def conversations(config: RunConfig, speaks: Vocabulary | None) -> Conversations | None:
    """How responses of a run become conversations; None where they hold no turns but the model's own, or there is no
    chat template that would put them."""
    rollout = config.rollout
    if rollout.tools and not isinstance(rollout.calls, TurnCalls):
        return None
    if not rollout.tools and rollout.environment is None:
        return None
    if speaks is None or speaks.conversation is None or speaks.content_of is None:
        return None
    told = config.engine.template_args.get("tools", []) if rollout.tools else []  # pyright: ignore[reportAttributeAccessIssue]
    plain = Conversations(speaks.conversation, speaks.decode, speaks.content_of, MESSAGE, told, None)
    arguments = _arguments(rollout.tools)
    if arguments is None or not isinstance(rollout.calls, TemplateCalls):
        return plain
    function = pa.struct([("name", pa.string()), ("arguments", arguments)])
    call = pa.struct([("type", pa.string()), ("function", function)])
    message = pa.struct([*MESSAGE, ("tool_calls", pa.list_(call)), ("name", pa.string())])
    calls = rollout.calls
    with_calls = Conversations(speaks.conversation, speaks.decode, speaks.content_of, message, told, calls)
    return with_calls if any(_is_written(with_calls, calls, tool) for tool in rollout.tools) else plain


def _has_no_empty_struct(value: Any) -> bool:
    """Whether a value can be a column of Parquet, which has no structs without fields."""
    if isinstance(value, dict):
        return bool(value) and all(map(_has_no_empty_struct, value.values()))
    return not isinstance(value, list) or all(map(_has_no_empty_struct, value))


def _is_written(made: Conversations, calls: TemplateCalls, tool: Tool) -> bool:
    """Whether the template writes a call of a tool in `tool_calls` as its models do."""
    examples = {"string": "6 * 7", "integer": 6, "number": 6.5, "boolean": True}
    given = {name: examples[schema["type"]] for name, schema in tool.parameters["properties"].items()}
    body = json.dumps({"name": tool.name, "arguments": given}, ensure_ascii=False)
    text = f"{calls.open}\n{body}\n{calls.close}"
    structured = _structured(calls, text)
    return structured is not None and made.renders_as(structured, {"role": "assistant", "content": text})


def _structured(calls: TemplateCalls, text: str) -> Turn | None:
    """A turn that ends in a whole call, with the call apart; None of any other."""
    said, opened, rest = text.rpartition(calls.open)
    body, closed, after = rest.partition(calls.close)
    if not (opened and closed) or after:
        return None
    try:
        call = json.loads(body)
    except ValueError:
        return None
    if not isinstance(call, dict) or set(call) != {"name", "arguments"} or not isinstance(call["arguments"], dict):
        return None
    function = {"name": call["name"], "arguments": call["arguments"]}
    content = said.removesuffix("\n")
    return {"role": "assistant", "content": content, "tool_calls": [{"type": "function", "function": function}]}


def _arguments(tools: Sequence[Tool]) -> pa.StructType | None:
    """The Arrow type of the arguments of all tools; None where there is none, since they take lists or objects, or
    two take the same name as different types."""
    fields: dict[str, pa.DataType] = {}
    for tool in tools:
        for name, schema in tool.parameters.get("properties", {}).items():
            kind = _TYPES.get(str(schema.get("type"))) if isinstance(schema, dict) else None
            if kind is None or fields.setdefault(name, kind) != kind:
                return None
    return pa.struct(list(fields.items())) if fields else None
