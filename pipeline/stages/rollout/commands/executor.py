"""Executes the commands of a search on engine, verifier, scorer and shared budget, and returns their events.

    Generate ─► a task on the engine ─► Segment …, Cancelled          Cancel ─► the engine
    Verify ─► Ports.verify_here, else a task ─► Verified              Score ─► Scored, Failed
    CallTool ─► ToolCalls ─► Ports.call ─► Called, Failed         BudgetRequest ─► Ports.share ─► BudgetGrant
    TakeTurn ─► Episodes ─► Ports.call ─► Called, Verified, Failed

Each command is a task of its own, so that nothing waits for anything but its own result; what is decided on the spot
makes no task.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from msgspec.structs import replace

from berry.pipeline.core import calls
from berry.pipeline.core.allocate import Need
from berry.pipeline.core.events import (
    BudgetGrant,
    BudgetRequest,
    Called,
    CallTool,
    Cancel,
    Cancelled,
    Completion,
    Event,
    Failed,
    Generate,
    Score,
    Scored,
    Segment,
    TakeTurn,
    Verified,
    Verify,
)
from berry.pipeline.core.scorers import SCORERS, path_logprob
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.steps import token_ends
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.engines.base import Request
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.records import Finish, Problem
from berry.pipeline.stages.checking.question import check_request
from berry.pipeline.stages.leases.lease import Gauges
from berry.pipeline.stages.rollout.commands.calling import ToolCalls
from berry.pipeline.stages.rollout.commands.episodes import Episodes
from berry.pipeline.stages.rollout.commands.ports import Ports
from berry.pipeline.tasks import end_tasks
from berry.verifiers.base import UNANSWERED, Outcome, Verdict
from berry.verifiers.checker import CheckRequest

ExecutableCommand = Generate | Verify | Score | Cancel | BudgetRequest | CallTool | TakeTurn
T = TypeVar("T")
_CANCELLED, _PASS, _UNVERIFIABLE = Finish.CANCELLED, Outcome.PASS, Outcome.UNVERIFIABLE


class CommandExecutor:
    """Executes the commands of one problem's `search`. Results go to `put`, the exception of a command that fails to
    `fail`."""

    def __init__(
        self,
        problem: Problem,
        ports: Ports,
        search: Search,
        gauges: Gauges,
        put: Callable[[Event], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self.problem = problem
        self.ports = ports
        self.search = search
        self.gauges = gauges
        self.put = put
        self.fail = fail
        self.responses: dict[str, str] = {}
        self._texts: dict[str, str] = {}  # of leaves, so that equal ones are held once
        self._prefix: tuple[TreeNode | None, str | None] = None, None  # the text up to the parent of the last leaf read
        self._kind: str = problem.verifier.type
        self._decided: dict[str, Verdict] = {}  # by response: what was decided on the spot
        self.joined = True  # whether every text in `responses` is that of the nodes on its path
        self._tasks: set[asyncio.Task[None]] = set()
        self._generating: dict[str, dict[str, set[int]]] = {}  # node -> request id -> indices still to come
        self._requests = 0
        self._seamless = ports.engine.info.seamless
        asked = problem.messages_under(search.rollout.system_prompt)
        self._messages = asked if ports.engine.info.text_alone else None
        self._tools: ToolCalls | None = None
        self._episodes: Episodes | None = None
        rollout = search.rollout
        self._interactive = rollout.is_interactive
        if self._interactive:
            if ports.call is None:
                raise ConfigError("rollout.tools, rollout.environment: nothing makes calls here")
            tree = f"{search.run_seed}/{search.round_index}/{problem.id}"
            if rollout.tools:
                self._tools = ToolCalls(tree, problem, search, ports.engine, ports.call)
            if rollout.environment is not None:
                self._episodes = Episodes(tree, problem, rollout.environment, search, ports.engine, ports.call)

    def execute(self, command: ExecutableCommand) -> None:
        """Begins what a command asks for; its answers come as events."""
        match command:
            case Verify():
                self.verify(command)
            case Generate():
                self._spawn(self._generate(command, self._register(command)))
            case Score():
                self._spawn(self._score(command))
            case Cancel():
                self._spawn(self._cancel(command))
            case CallTool():
                self._spawn(self._make_call(command))
            case TakeTurn():
                self._spawn(self._take_turn(command))
            case BudgetRequest():
                self._spawn(self._ask_budget(command))

    def resume(self) -> None:
        """Takes over what the search that was replayed has had done."""
        for made in (self._tools, self._episodes):
            if made is not None:
                made.recall()

    async def stop(self) -> None:
        """Cancels the commands that are not done."""
        await end_tasks(task for task in self._tasks if not task.done())
        for made in (self._tools, self._episodes):
            if made is not None:
                await made.stop()

    def response(self, leaf: str) -> str:
        """The text of a leaf's whole response: the joined texts of its path, where they are known to be the text of its
        tokens; else the tokens, decoded."""
        response = self.responses.get(leaf)
        if response is not None:
            return response
        node = self.search.tree.at(leaf)
        text, above, before = node.text, node.parent, None
        if text and above is not None:
            if self._prefix[0] is not above:  # siblings come one after another
                self._prefix = above, self._joined(above)
            before = self._prefix[1]
        if text and before is not None:
            whole = before + text
        else:
            whole, self.joined = self.ports.engine.decode(self.search.tree.response_ids(leaf)), False
        self.responses[leaf] = response = self._texts.setdefault(whole, whole)
        return response

    def spoken(self, leaf: str) -> str:
        """What the model itself said of a leaf's response: what is checked, without what tools said."""
        path = self.search.tree.path(self.search.tree.at(leaf))
        if all(node.given is None for node in path):
            return self.response(leaf)
        decode = self.ports.engine.decode
        return calls.spoken(None if node.given is not None else node.text or decode(node.tokens) for node in path)

    def _joined(self, node: TreeNode) -> str | None:
        """The text up to and with a node; None where only decoding all tokens at once can tell."""
        path = self.search.tree.path(node)
        texts = [at.text for at in path if at.text]
        return "".join(texts) if len(texts) == len(path) and (self._seamless or not path) else None

    def _spawn(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - handed to the search's own task, which raises it
                self.fail(error)

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- generating -------------------------------------------------------------------------------------------------

    def _register(self, command: Generate) -> str:
        """Names the request before its task runs, so that a Cancel that follows at once finds it."""
        self._requests += 1
        request_id = f"{self.problem.id}/{command.node}/{command.seed:x}/{self._requests}"
        expected = {command.first_index + i for i in range(command.n)}
        self._generating.setdefault(command.node, {})[request_id] = expected
        return request_id

    async def _generate(self, command: Generate, request_id: str) -> None:
        expected = self._generating[command.node][request_id]
        request = Request(
            request_id=request_id,
            prompt_ids=self.search.tree.prefix_ids(command.node),
            n=command.n,
            until=command.until,
            sampling=command.sampling,
            seed=command.seed,
            priority=command.priority,
            tree=self.problem.id,
            messages=self._messages,
        )
        node, first, wants_ends = command.node, command.first_index, command.until.token_ends
        cancelled_tokens = 0
        try:
            async for sample in self.ports.engine.generate(request):
                completion = sample.completion
                if completion.finish is _CANCELLED:
                    cancelled_tokens += len(completion.token_ids)
                    continue
                if wants_ends:
                    completion = self._with_ends(completion)
                index = first + sample.index
                expected.discard(index)
                self.put(Segment(node, index, completion))
        finally:
            self._generating[command.node].pop(request_id, None)
        if expected:
            self.put(Cancelled(command.node, tuple(sorted(expected)), cancelled_tokens))

    def _with_ends(self, completion: Completion) -> Completion:
        """The completion with where each token ends in its text: engines need not know, a search that forks inside a
        segment does."""
        if completion.token_ends or not completion.token_ids:
            return completion
        return replace(completion, token_ends=token_ends(completion.token_ids, self.ports.engine.decode))

    async def _cancel(self, command: Cancel) -> None:
        for request_id in list(self._generating.get(command.node, ())):
            await self.ports.engine.cancel(request_id)

    # ---- checking, scoring, sharing ---------------------------------------------------------------------------------

    def verify(self, command: Verify) -> None:
        """Has a leaf checked: on the spot where that takes no tool, else by a task."""
        response = self.spoken(command.node) if self._interactive else self.response(command.node)
        self.gauges.leaves += 1
        verdict = self._decided.get(response)
        if verdict is None:
            request = check_request(self.problem, response, self.search.rollout.thinking)
            decide = self.ports.verify_here
            verdict = None if decide is None else decide(request)
            if verdict is None:
                self._spawn(self._ask_verifier(command, request))
                return
            self._decided[response] = verdict  # what needs no tool depends on the response alone
        self._verified(command, verdict)

    async def _ask_verifier(self, command: Verify, request: CheckRequest) -> None:
        self.gauges.verifying += 1
        try:
            verdict = await self.ports.verify(request)
        finally:
            self.gauges.verifying -= 1
        self._verified(command, verdict)

    def _verified(self, command: Verify, verdict: Verdict) -> None:
        gauges, outcome = self.gauges, verdict.outcome
        gauges.verified += 1
        gauges.kinds[self._kind] += 1
        gauges.passed += outcome is _PASS
        gauges.unanswered += verdict.reason in UNANSWERED
        gauges.unverifiable += outcome is _UNVERIFIABLE
        self.put(Verified(command.node, verdict))

    async def _make_call(self, command: CallTool) -> None:
        assert self._tools is not None
        event = await self._timed(self._tools.make(command))
        self.gauges.called_badly += isinstance(event, Failed) or event.outcome != "ok"
        self.gauges.nondeterministic += isinstance(event, Called) and event.nondeterministic
        self.put(event)

    async def _take_turn(self, command: TakeTurn) -> None:
        """The environment's next turn, or its verdict; where it leaves that to the problem's verifier, that one's."""
        assert self._episodes is not None
        answer = await self._timed(self._episodes.turn(command))
        if answer is None:
            self.verify(Verify(command.node))
        elif isinstance(answer, Verdict):
            self.gauges.leaves += 1
            self._verified(Verify(command.node), answer)
        else:
            self.gauges.called_badly += isinstance(answer, Failed)
            self.gauges.nondeterministic += isinstance(answer, Called) and answer.nondeterministic
            self.put(answer)

    async def _timed(self, call: Coroutine[Any, Any, T]) -> T:
        asked = time.monotonic()
        self.gauges.calling += 1
        try:
            return await call
        finally:
            self.gauges.calling -= 1
            self.gauges.called += 1
            self.gauges.call_s += time.monotonic() - asked

    async def _score(self, command: Score) -> None:
        if command.model in SCORERS:
            value = SCORERS[command.model](self.search.tree, command.node)
            if value is None:
                self.put(Failed(command.node, "nothing to score by yet", what="score"))
            else:
                self.put(Scored(command.node, value, command.model))
            return
        if self.ports.scorer is None:
            self.put(Failed(command.node, f"no scorer serves the model {command.model!r}", what="score"))
            return
        prefix = self.search.tree.prefix_ids(command.node)
        response = self.search.tree.response_ids(command.node)
        try:
            value = await self.ports.scorer.score(
                model=command.model,
                prompt_ids=prefix[: len(prefix) - len(response)],
                response_ids=response,
                logprob=path_logprob(self.search.tree, command.node),
            )
        except EngineError as error:
            self.put(Failed(command.node, str(error), what="score"))
            return
        self.put(Scored(command.node, value, command.model))

    async def _ask_budget(self, command: BudgetRequest) -> None:
        leaves = 0
        if self.ports.share is not None:
            leaves = await self.ports.share(Need(self.problem.id, command.unspent, command.wanted))
        self.put(BudgetGrant(leaves))
