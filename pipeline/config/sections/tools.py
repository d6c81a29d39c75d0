"""Configures the tools that a model may call while it answers, and how it writes a call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from berry.pipeline.config.reading.base import Section


class PythonTool(Section):
    """A Python session in a sandbox: its state lives along a path of the tree. numpy and sympy are loaded."""

    type: Literal["python"] = "python"
    name: str = Field(default="python", pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")
    """Name by which the model calls it."""
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

    @property
    def description(self) -> dict[str, Any]:
        """What a chat template is told of the tool: a function in JSON schema."""
        code = {"type": "string", "description": "Python; the value of a last expression is returned too"}
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": "Runs Python in a session that keeps its state, with numpy and sympy; returns what it "
                "prints.",
                "parameters": {"type": "object", "properties": {"code": code}, "required": ["code"]},
            },
        }


Tool = PythonTool


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


class TemplateCalls(CallFormat):
    """JSON between tags, `{"name": …, "arguments": {…}}`, answered by a turn of the role `tool` in the model's own chat
    template (Hermes, Qwen). The template is given the tools' descriptions, as `engine.chat_template_args.tools`."""

    type: Literal["tool_call"] = "tool_call"
    open: str = Field(default="<tool_call>", min_length=1)
    """What begins a call."""
    close: str = Field(default="</tool_call>", min_length=1)
    """What ends it."""


Calls = Annotated[FencedCalls | TagCalls | TemplateCalls, Field(discriminator="type")]
