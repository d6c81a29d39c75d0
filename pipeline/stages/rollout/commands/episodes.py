"""Asks a run's environment what follows the turns of the model, in one search.

    node that ends a turn ─► what the model said in it ─► Ports.call, with the turns before ─► Called, the next turn
                             └► the episode is over ─► its verdict; None: the problem's verifier gives it

Equal sequences of turns in one tree are taken once. What the environment said comes from the tree, never from a second
run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from berry.pipeline.config.sections.rollout.environment import Environment
from berry.pipeline.core import calls
from berry.pipeline.core.events import Called, Failed, TakeTurn
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.steps import answer_part
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.engines.base import Engine
from berry.pipeline.records import Problem
from berry.pipeline.stages.rollout.commands.ports import Calling
from berry.pipeline.stages.tools.environment import WHOLE, Said, environment_seed, read_reply
from berry.pipeline.stages.tools.programs import environment_for, limits_of
from berry.pipeline.tasks import end_tasks
from berry.sandboxes.base import JobOutcome
from berry.sandboxes.sessions import SessionCall, SessionReply
from berry.verifiers.base import Verdict, verdict
from berry.verifiers.kinds.custom import failure_of


class Episodes:
    """The episodes of one problem's search, `tree` naming it among all that share the environment."""

    def __init__(
        self, tree: str, problem: Problem, environment: Environment, search: Search, engine: Engine, call: Calling
    ) -> None:
        self._tree = f"{tree}/environment"
        self._environment, self._search, self._engine, self._call = environment, search, engine, call
        seed = environment_seed(search.run_seed, search.round_index, problem.id)
        self._loaded = environment_for(environment, problem, seed)
        self._taken: dict[tuple[str, ...], asyncio.Future[SessionReply]] = {}

    async def turn(self, command: TakeTurn) -> Called | Failed | Verdict | None:
        """What answers a TakeTurn: an event, or how the episode ended."""
        node = self._search.tree.at(command.node)
        past, said = self._turns(node)
        sequence = (*(turn for turn, _ in past), said)
        future = self._taken.get(sequence)
        if future is None:
            future = self._taken[sequence] = asyncio.ensure_future(self._ask(past, said))
        reply = await asyncio.shield(future)
        if reply.outcome is not JobOutcome.OK:
            self._taken.pop(sequence, None)
            return verdict(failure_of(reply.outcome), note=f"the environment: {reply.text}")
        answer = read_reply(reply.text, self._environment)
        if not isinstance(answer, Said):
            return answer if answer is None else _with_turns(answer, len(sequence), differs=reply.nondeterministic)
        return self._called(node, answer, reply)

    async def stop(self) -> None:
        """Cancels the turns that are being taken."""
        await end_tasks(future for future in self._taken.values() if not future.done())

    def recall(self) -> None:
        """Takes over what the environment said before a crash."""
        for node in self._search.tree.walk():
            given = node.given
            if given is None or not given.turn or node.parent is None:
                continue
            past, said = self._turns(node.parent)
            future: asyncio.Future[SessionReply] = asyncio.get_running_loop().create_future()
            text = Said(given.role, given.result).raw
            future.set_result(SessionReply(text, ms=given.ms, nondeterministic=given.nondeterministic))
            self._taken[*(turn for turn, _ in past), said] = future

    async def _ask(self, past: list[tuple[str, str]], said: str) -> SessionReply:
        profile, program = self._loaded
        limits = limits_of(self._environment)
        return await self._call(SessionCall(self._tree, tuple(past), said, limits, WHOLE, profile, program))

    def _called(self, node: TreeNode, said: Said, reply: SessionReply) -> Called | Failed:
        try:
            token_ids = self._engine.encode_turn(said.role, said.content, node.tokens[-1] if node.tokens else None)
        except ValueError as error:
            return Failed(node.node_id, str(error), what="turn")
        return Called(
            node.node_id,
            tuple(token_ids),
            self._engine.decode(token_ids),
            said.content,
            role=said.role,
            ms=round(reply.ms, 3),
            nondeterministic=reply.nondeterministic,
            turn=True,
        )

    def _turns(self, node: TreeNode) -> tuple[list[tuple[str, str]], str]:
        """The episode up to a node that ends a turn: the turns before with what was answered, and the last."""
        past: list[tuple[str, str]] = []
        pieces: list[str | None] = []
        for at in self._search.tree.path(node):
            if at.given is not None and at.given.turn:
                past.append((self._spoken(pieces), Said(at.given.role, at.given.result).raw))
                pieces = []
            else:
                pieces.append(None if at.given is not None else at.text or self._engine.decode(at.tokens))
        return past, self._spoken(pieces)

    def _spoken(self, pieces: Iterable[str | None]) -> str:
        """A turn as the environment reads it: without what tools said, and without the thinking."""
        return answer_part(calls.spoken(pieces), self._search.rollout.thinking)


def _with_turns(ended: Verdict, turns: int, *, differs: bool) -> Verdict:
    more: dict[str, Any] = {"turns": turns, **({"nondeterministic": True} if differs else {})}
    return Verdict(ended.outcome, ended.reason, ended.answer, {**ended.evidence, **more}, ended.verify_ms)
