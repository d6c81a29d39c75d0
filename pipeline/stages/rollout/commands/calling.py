"""Makes the tool calls of one search: reads a call, has it made where its path's calls were, and says what follows.

    node that ends in a call ─► parse (tool, code) ─► Ports.call, with the path's calls ─► Called
                                └─► malformed: an error that the model can read

Equal sequences of calls in one tree are made once. What a call said comes from the tree, never from a second run.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

from berry.pipeline.config.sections.rollout.tools import LlamaCalls, Tool, TurnCalls
from berry.pipeline.core import calls
from berry.pipeline.core.events import Called, CallTool, Failed
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.engines.base import Engine
from berry.pipeline.records import Problem
from berry.pipeline.stages.rollout.commands.ports import Calling
from berry.pipeline.stages.tools import arguments
from berry.pipeline.stages.tools.programs import is_alone, limits_of, loaded_for
from berry.pipeline.tasks import end_tasks
from berry.sandboxes.base import JobOutcome
from berry.sandboxes.sessions import SessionCall, SessionReply

MALFORMED = "malformed"
CallPath = tuple[tuple[str, str], ...]
"""The calls on a path, each as its tool and its code; a malformed one as "" and what was written."""


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call as it is to be made: the code for a tool, or what is wrong with it."""

    tool: Tool | None
    code: str
    fault: str | None = None

    @property
    def place(self) -> tuple[str, str]:
        """The tool's name, empty where none was found, and the code: calls that are equal in both are equal."""
        return ("" if self.tool is None else self.tool.name), self.code


class ToolCalls:
    """The calls of one problem's search, `tree` naming it among all that share a tool."""

    def __init__(self, tree: str, problem: Problem, search: Search, engine: Engine, call: Calling) -> None:
        self._tree, self._problem, self._search, self._engine, self._call = tree, problem, search, engine, call
        self._parsed: dict[str, ParsedCall] = {}  # by the node that ends in it
        self._made: dict[CallPath, asyncio.Future[SessionReply]] = {}

    async def make(self, command: CallTool) -> Called | Failed:
        """The event that answers a CallTool."""
        node = self._search.tree.at(command.node)
        path = self._calls_before(node)
        parsed = self._parse(node)
        if parsed.fault is not None:
            return self._called(node, SessionReply(f"Error: {parsed.fault}"), outcome=MALFORMED)
        sequence = (*(self._parse(at).place for at in path), parsed.place)
        known = self._known(sequence)
        if known is not None:
            return self._called(node, known, outcome=known.outcome, tool=parsed.tool)
        future = self._made.get(sequence)
        if future is None:
            future = self._made[sequence] = asyncio.ensure_future(self._ask(parsed, path))
        reply = await asyncio.shield(future)
        if reply.failed:
            self._made.pop(sequence, None)
            return Failed(node.node_id, reply.text or reply.outcome, what="call")
        return self._called(node, reply, outcome=reply.outcome, tool=parsed.tool)

    async def stop(self) -> None:
        """Cancels the calls that are being made."""
        await end_tasks(future for future in self._made.values() if not future.done())

    def _known(self, sequence: CallPath) -> SessionReply | None:
        """What an equal sequence of calls said; None where it was not made."""
        future = self._made.get(sequence)
        return future.result() if future is not None and future.done() and not future.cancelled() else None

    async def _ask(self, parsed: ParsedCall, path: list[TreeNode]) -> SessionReply:
        tool, form = parsed.tool, self._search.rollout.calls
        assert tool is not None
        alone = is_alone(tool)
        past: list[tuple[str, str]] = []
        for at in [] if alone else path:  # since the session of this tool last ended
            given = at.tip.given
            assert given is not None
            earlier = self._parse(at)
            if earlier.tool is not tool:
                continue
            if given.ended:
                past.clear()
            else:
                past.append((earlier.code, given.result))
        loaded = loaded_for(tool, self._problem)
        return await self._call(
            SessionCall(
                f"{self._tree}/{tool.name}",
                tuple(past),
                parsed.code,
                limits_of(tool),
                form.max_result_chars,
                loaded.profile,
                loaded.program,
                alone,
            )
        )

    def _called(self, node: TreeNode, reply: SessionReply, *, outcome: str, tool: Tool | None = None) -> Called:
        form = self._search.rollout.calls
        if isinstance(form, TurnCalls):
            ended_by = node.tokens[-1] if isinstance(form, LlamaCalls) else None
            token_ids = self._engine.encode_result(reply.text, ended_by=ended_by)
        else:
            token_ids = self._engine.encode_text(calls.framed(form, reply.text))
        return Called(
            node.node_id,
            tuple(token_ids),
            self._engine.decode(token_ids),
            reply.text,
            outcome=str(outcome),
            ended=reply.ended,
            ms=round(reply.ms, 3),
            nondeterministic=reply.nondeterministic,
            tool="" if tool is None else tool.name,
        )

    def recall(self) -> None:
        """Takes over what calls said before a crash: equal ones are not made again."""
        for node in self._search.tree.walk():
            given, above = node.given, node.parent
            if given is None or above is None or given.turn or given.outcome == MALFORMED:
                continue
            path = self._calls_before(node)
            said: asyncio.Future[SessionReply] = asyncio.get_running_loop().create_future()
            said.set_result(SessionReply(given.result, JobOutcome(given.outcome), given.ended, given.ms))
            self._made[tuple(self._parse(at).place for at in path)] = said

    def _calls_before(self, node: TreeNode) -> list[TreeNode]:
        """The nodes on the way to a node that end in a call with its result."""
        given = [at for at in self._search.tree.path(node) if at.given is not None and not at.given.turn]
        return [at.parent for at in given if at.parent is not None]

    # ---- reading a call ---------------------------------------------------------------------------------------------

    def _parse(self, node: TreeNode) -> ParsedCall:
        parsed = self._parsed.get(node.node_id)
        if parsed is None:
            written = calls.find(self._search.rollout, node.turn_text)
            assert written is not None, f"{node} ends in no call"
            parsed = self._parsed[node.node_id] = self._read(written)
        return parsed

    def _read(self, written: calls.WrittenCall) -> ParsedCall:
        rollout = self._search.rollout
        tools = {tool.name: tool for tool in rollout.tools}
        if written.body is None:
            return ParsedCall(None, "", "this ends a call that was not begun")
        if not isinstance(rollout.calls, TurnCalls) or written.tool is not None:
            tool = rollout.tools[0] if written.tool is None else tools[written.tool]
            return self._parsed_as(tool, arguments.of_text(tool, written.body))
        try:
            call = json.loads(written.body)
        except ValueError as error:
            return ParsedCall(None, written.body, f"the call is no JSON: {error}")
        name = call.get("name") if isinstance(call, dict) else None
        if not isinstance(name, str) or name not in tools:
            return ParsedCall(None, written.body, f"no tool is named {name!r}; there are {', '.join(sorted(tools))}")
        given = call.get("parameters") if isinstance(rollout.calls, LlamaCalls) else call.get("arguments")
        return self._parsed_as(tools[name], arguments.of_object(tools[name], given, written.body))

    @staticmethod
    def _parsed_as(tool: Tool, call: arguments.CallText) -> ParsedCall:
        return ParsedCall(None if call.fault else tool, call.text, call.fault)
