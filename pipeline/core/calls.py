"""Finds the tool call with which a text ends, as models write them, and says what is put around a result.

    text of the model's turn so far ─► find ─► WrittenCall (tool, body)       result ─► framed ─► text that follows it

A call whose beginning is missing is one too, with None as its body: the model is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.config.sections.rollout.tools import CallFormat, FencedCalls, LlamaCalls, TagCalls, TemplateCalls

_FENCE = "```"
_ALSO = {"py": "python", "python3": "python"}
MOST_GLUED = 8  # characters of a token behind the tag in it
_JSON_CALL = re.compile(r'\{\s*("type"\s*:\s*"function"\s*,\s*)?"name"\s*:')


class WrittenCall(NamedTuple):
    """A call as it was written. `tool`: the name that its format gives it; None where the body says it, or there is one
    tool."""

    tool: str | None
    body: str | None


def closes(rollout: Rollout) -> tuple[str, ...]:
    """Texts at which a segment may end in a call."""
    form = rollout.calls
    if isinstance(form, FencedCalls):
        return (f"\n{_FENCE}\n",)
    if isinstance(form, LlamaCalls):
        return ()
    assert isinstance(form, TagCalls | TemplateCalls)
    return (form.close,)


def ends_at_close(rollout: Rollout, text: str) -> bool:
    """Whether a segment's text ends where a call may; the token that ends it may bring a little more."""
    if isinstance(rollout.calls, FencedCalls):
        return text.rstrip().endswith(f"\n{_FENCE}")
    return any(_is_last(close, text) for close in closes(rollout))


def _is_last(close: str, text: str) -> bool:
    """Whether a text ends with a closing tag, and at most with what a token can have behind one: white space, or a few
    characters glued to it, as `>.` and `></` are tokens of many vocabularies."""
    _, found, after = text.rpartition(close)
    return bool(found) and (not after.strip() or (not after[0].isspace() and len(after) <= MOST_GLUED))


def ends_turns(rollout: Rollout) -> bool:
    """Whether a call is a whole turn, which the model itself has ended."""
    return isinstance(rollout.calls, LlamaCalls)


def find(rollout: Rollout, text: str) -> WrittenCall | None:
    """The call with which a turn's text ends; None where it ends with something else."""
    form = rollout.calls
    if isinstance(form, FencedCalls):
        return _last_fenced(text, {tool.name.lower(): tool.name for tool in rollout.tools})
    if isinstance(form, LlamaCalls):
        return _whole_turn(rollout, form, text)
    assert isinstance(form, TagCalls | TemplateCalls)
    if not _is_last(form.close, text):
        return None
    _, opened, body = text.rpartition(form.close)[0].rpartition(form.open)
    return WrittenCall(None, body if opened and form.close not in body else None)


def _last_fenced(text: str, names: dict[str, str]) -> WrittenCall | None:
    """The last fenced block, if the text ends with it and its language names a tool."""
    language: str | None = None
    block: list[str] = []
    last: WrittenCall | None = None
    for line in text.rstrip().split("\n"):
        stripped = line.strip()
        if language is None:
            last = None
            if stripped.startswith(_FENCE):
                language, block = stripped.removeprefix(_FENCE).strip().lower(), []
        elif stripped == _FENCE:
            name = language if language in names else _ALSO.get(language, "")
            last = WrittenCall(names[name], "\n".join(block)) if name in names else None
            language = None
        else:
            block.append(line)
    return last if language is None else None


def _whole_turn(rollout: Rollout, form: LlamaCalls, text: str) -> WrittenCall | None:
    """The call that a turn is, behind the model's thinking. What follows the tag and is no JSON is code for the tool
    `python`, or for the one that there is."""
    if rollout.thinking is not None:
        text = text.rpartition(rollout.thinking.close)[2]
    text = text.strip()
    tagged = text.startswith(form.open)
    body = text.removeprefix(form.open).strip()
    if _JSON_CALL.match(body):
        return WrittenCall(None, body)
    if not tagged:
        return None
    names = [tool.name for tool in rollout.tools]
    return WrittenCall(names[0] if len(names) == 1 else "python" if "python" in names else None, body)


def framed(form: CallFormat, result: str) -> str:
    """What follows a call in the model's own turn. A turn of its own (`TurnCalls`) is for the engine to render."""
    if isinstance(form, FencedCalls):
        return f"{_FENCE}{form.output}\n{result}\n{_FENCE}\n"
    assert isinstance(form, TagCalls)
    return f"\n{form.result_open}{result}{form.result_close}\n"


def spoken(pieces: Iterable[str | None]) -> str:
    """Joins what the model itself wrote of a response. None stands for a result, which is left out: what was written
    behind it begins on a line of its own."""
    text = ""
    for piece in pieces:
        if piece is not None:
            text += piece
        elif text and not text.endswith("\n"):
            text += "\n"
    return text
