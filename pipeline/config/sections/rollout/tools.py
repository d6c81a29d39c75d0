"""Configures the tools that a model may call while it answers, and how it writes a call."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.user_class import UserClass

NAME = r"^[A-Za-z_][A-Za-z0-9_-]*$"
NAME_OR_NONE = r"^([A-Za-z_][A-Za-z0-9_-]*)?$"


class Confined(Section):
    """What the sessions of a tool may use."""

    call_wall_s: float = Field(default=10.0, gt=0)
    """Wall seconds of one call, scaled by the host's calibration factor; a longer one ends the session."""
    cpu_s: float = Field(default=30.0, gt=0)
    """CPU seconds of one session: of all calls of a trajectory."""
    memory_mb: int = Field(default=512, ge=16)
    """Memory of one session, in MB."""
    output_kb: int = Field(default=1024, ge=1)
    """Output of one session, in kB; more of it ends the session."""
    sessions: int = Field(default=64, ge=1)
    """Sessions that each host keeps between calls at most. The one that has waited longest is ended for a new one, and
    is rebuilt by running its calls again where its path goes on."""


class PythonTool(Confined):
    """A Python session in a sandbox: its state lives along a path of the tree. numpy and sympy are loaded."""

    type: Literal["python"] = "python"
    name: str = Field(default="python", pattern=NAME)
    """Name by which the model calls it."""

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments of a call."""
        return _one_text("code", "Python; the value of a last expression is returned too")

    @property
    def description(self) -> dict[str, Any]:
        """What a chat template is told of the tool: a function in JSON schema."""
        does = "Runs Python in a session that keeps its state, with numpy and sympy; returns what it prints."
        return _function(self.name, does, self.parameters)


class SqlTool(Confined):
    """A query on the problem's own database: the one that its verifier of type `sql` is asked on."""

    type: Literal["sql"] = "sql"
    name: str = Field(default="sql", pattern=NAME)
    """Name by which the model calls it."""
    access: Literal["read", "copy"] = "read"
    """`read`: statements that would change the database are refused, by an error that the model reads. `copy`: each
    path of the tree has a database of its own, in which what it changes stays."""
    setup: str | None = None
    """Statements that make the database of problems whose verifier has none; null: such problems are refused."""
    dialect: Literal["sqlite", "duckdb"] = "sqlite"
    """What `setup` is written for."""
    max_rows: int = Field(default=20, ge=1)
    """Rows of a result that the model is given; a line says where there are more."""

    @property
    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments of a call."""
        return _one_text("query", "one statement")

    @property
    def description(self) -> dict[str, Any]:
        """What a chat template is told of the tool: a function in JSON schema."""
        does = "Runs one SQL statement on the problem's database; returns its rows as a table."
        return _function(self.name, does, self.parameters)


class CustomTool(Confined, UserClass):
    """A class of your own, run in the jail: `Tool(problem, **options)` once a session, `call(**arguments)` each call.
    docs/tools.md has the protocol."""

    type: Literal["custom"] = "custom"
    name: str = Field(default="", pattern=NAME_OR_NONE)
    """Name by which the model calls it; empty: the class's own `name`, or the class's name."""
    does: str = ""
    """What the model is told that it does; empty: the class's own `description`."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """JSON schema of the arguments of a call, an object; empty: the class's own `parameters`."""
    stateless: bool | None = None
    """Whether calls leave nothing behind: each is then made in a session of its own, and none is ever made again. null:
    what the class says of itself, else False."""

    @model_validator(mode="after")
    def _takes_what_the_class_says(self) -> Self:
        own = self.declared
        said = {
            "name": self.name or own.get("name") or self.class_name,
            "does": self.does or own.get("description") or "",
            "parameters": self.parameters or own.get("parameters") or {},
            "stateless": own.get("stateless", False) if self.stateless is None else self.stateless,
        }
        if not isinstance(said["name"], str) or not re.match(NAME, said["name"]):
            raise ValueError(f"{self.target}: name {said['name']!r} is none that a model can write: give `name`")
        if not isinstance(said["parameters"], dict) or said["parameters"].get("type") != "object":
            raise ValueError(
                f"{self.target}: its arguments are not known: give `parameters`, a JSON schema of type object, in the "
                "class as plain data, or here"
            )
        for name, value in said.items():
            object.__setattr__(self, name, value)
        return self

    @property
    def description(self) -> dict[str, Any]:
        """What a chat template is told of the tool: a function in JSON schema."""
        return _function(self.name, self.does, self.parameters)


def _one_text(name: str, says: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string", "description": says}}, "required": [name]}


def _function(name: str, does: str, parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": does, "parameters": parameters}}


Tool = Annotated[PythonTool | SqlTool | CustomTool, Field(discriminator="type")]


class CallFormat(Section):
    """What all ways of writing a call share."""

    max_calls: int = Field(default=8, ge=1)
    """Calls of one trajectory; one that makes another is dropped as `too_many_calls`."""
    max_result_chars: int = Field(default=2000, ge=16)
    """Characters of a result that the model is given; of a longer one the beginning and the end, with a marker
    between."""


class FencedCalls(CallFormat):
    """A fenced block of code whose language is a tool's name, answered by a fenced block of output (ToRA, Gou et al.
    2024; Qwen2.5-Math). `py` is the tool `python` too."""

    type: Literal["fenced"] = "fenced"
    output: str = Field(default="output", pattern=r"^[A-Za-z0-9_-]*$")
    """Language that the block of a result is given."""


class TagCalls(CallFormat):
    """Code between plain tags, answered between others; for one tool."""

    type: Literal["tag"] = "tag"
    open: str = Field(default="<code>", min_length=1)
    """What begins a call."""
    close: str = Field(default="</code>", min_length=1)
    """What ends it."""
    result_open: str = "<output>"
    """What is put before a result."""
    result_close: str = "</output>"
    """What is put after it."""


class TurnCalls(CallFormat):
    """What the ways share whose results are turns of their own, put by the model's chat template. The template is given
    the tools' descriptions, as `engine.template_args.tools`."""


class TemplateCalls(TurnCalls):
    """JSON between tags, `{"name": …, "arguments": {…}}`, answered by a turn of the role `tool` in the model's own chat
    template (Hermes, Qwen). The template is given the tools' descriptions, as `engine.template_args.tools`."""

    type: Literal["tool_call"] = "tool_call"
    open: str = Field(default="<tool_call>", min_length=1)
    """What begins a call."""
    close: str = Field(default="</tool_call>", min_length=1)
    """What ends it."""


class LlamaCalls(TurnCalls):
    """A whole turn of JSON, `{"name": …, "parameters": {…}}`, or `<|python_tag|>` and that JSON or Python, answered by
    a turn of the role `ipython` (Llama 3.1 and later). The template is given the tools' descriptions, as
    `engine.template_args.tools`."""

    type: Literal["llama"] = "llama"
    open: str = "<|python_tag|>"
    """What may stand before a call."""


Calls = Annotated[FencedCalls | TagCalls | TemplateCalls | LlamaCalls, Field(discriminator="type")]
