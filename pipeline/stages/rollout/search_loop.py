"""Drives one search: executes its commands, and gives it their results as events, until it is finished.

    Search.start/handle ─► command ─► CommandExecutor ─► Ports ─► event ─► Search.handle ─► …

Nothing waits for anything but its own result: a verdict that takes seconds holds up no other branch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.allocate import Need
from berry.pipeline.core.events import Command, Event, Expired, Finished, FinishReason, Verify
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.registry import make_search
from berry.pipeline.core.values.votes import votes
from berry.pipeline.records import Problem
from berry.pipeline.stages.checking.question import Agreeing
from berry.pipeline.stages.leases.lease import Gauges
from berry.pipeline.stages.rollout.annotation import StoredSearch
from berry.pipeline.stages.rollout.commands.executor import CommandExecutor
from berry.pipeline.stages.rollout.commands.ports import Grown, Ports
from berry.pipeline.stages.rollout.final_scores import score_ends
from berry.pipeline.stages.rollout.inner_steps import inner_step_ends
from berry.pipeline.stages.rollout.journal import CommandDigest, LeaseJournal, Past
from berry.pipeline.stages.rollout.pending import PendingCommands
from berry.verifiers.kinds.majority import ConsensusRequest
from berry.verifiers.specs.union import MajoritySpec


async def grow(
    problem: Problem,
    ports: Ports,
    rollout: Rollout,
    *,
    run_seed: int,
    round_index: int,
    gauges: Gauges,
    journal: LeaseJournal | None = None,
    stored: StoredSearch | None = None,
) -> Grown:
    """Runs one problem's search to its end, from where its journal ends if there is one. `stored`: a tree that is to be
    labelled, in place of a search that begins with the prompt. Raises EngineError when the engine is dead, ConfigError
    where it can't go on from what is stored; everything else is data."""
    if stored is not None:
        prompt_ids, problem = stored.prompt_ids, stored.asked
    else:
        prompt_ids = ports.engine.encode(problem.messages_under(rollout.system_prompt))

    def fresh() -> Search:
        if stored is not None:
            return stored.search(ports.engine)
        return make_search(
            problem.id,
            prompt_ids,
            rollout,
            run_seed=run_seed,
            round_index=round_index,
            context_len=ports.engine.info.max_model_len,
        )

    loop = SearchLoop(problem, ports, fresh, gauges, journal)
    gauges.searching += 1
    try:
        await loop.run()
        if ports.scorer is not None and ports.end_scores:
            tree, decode = loop.search.tree, ports.engine.decode
            inside = None
            if "prm" in ports.end_scores:
                inside = await inner_step_ends(tree, rollout.step, rollout.thinking, decode)
            await score_ends(tree, ports.scorer, ports.end_scores, inside)
        if stored is None and isinstance(problem.verifier, MajoritySpec) and ports.agree is not None:
            await _decide_by_majority(loop, problem.verifier, ports.agree)
    finally:
        gauges.searching -= 1
    return Grown(problem, prompt_ids, loop.search, responses=loop.executor.responses, joined=loop.executor.joined)


class _Inbox:
    """Holds events in the order they came, to be taken all at once: an asyncio queue costs several calls for each."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._fault: BaseException | None = None
        self._reader: asyncio.Future[None] | None = None

    def put(self, event: Event) -> None:
        self._events.append(event)
        if self._reader is not None:
            self._wake()

    def fail(self, fault: BaseException) -> None:
        """Raises `fault` at the reader, after the events that came before it."""
        self._fault = self._fault or fault
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    async def take(self) -> list[Event]:
        """Waits for an event, and returns all there are."""
        while not self._events:
            if self._fault is not None:
                raise self._fault
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        events, self._events = self._events, []
        return events


class SearchLoop:
    """One search with its executor and journal; `fresh` makes the search anew."""

    def __init__(
        self,
        problem: Problem,
        ports: Ports,
        fresh: Callable[[], Search],
        gauges: Gauges,
        journal: LeaseJournal | None,
    ) -> None:
        self.problem = problem
        self.ports = ports
        self.fresh = fresh
        self.gauges = gauges
        self.journal = journal
        self.inbox = _Inbox()
        self.finished: FinishReason | None = None
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.search = self.fresh()
        self.chain = CommandDigest()
        self.executor = CommandExecutor(
            self.problem, self.ports, self.search, self.gauges, self.inbox.put, self.inbox.fail
        )

    async def run(self) -> None:
        """Runs the search to its end; after `budget.max_wall_s` seconds it is told that its time is over."""
        wall_s = self.search.rollout.budget.max_wall_s
        clock = asyncio.get_running_loop()
        alarm = clock.call_later(wall_s, self.inbox.put, Expired()) if wall_s is not None else None
        try:
            await self._begin()
            while self.finished is None:
                self._handle_all(await self.inbox.take())
        finally:
            if alarm is not None:
                alarm.cancel()
            await self.executor.stop()

    def _handle_all(self, events: list[Event]) -> None:
        """Gives events to the search and executes its commands; events after its end are left out."""
        handle, chain, journalled = self.search.handle, self.chain, self.journal is not None
        done = 0
        try:
            for event in events:
                done += 1
                chain.events += 1
                commands = handle(event)
                if commands:
                    if journalled:
                        chain.follow(commands)
                    self._execute(commands)
                    if self.finished is not None:
                        break
        finally:
            if self.journal is not None:
                self.journal.record(self.problem.id, *(events if done == len(events) else events[:done]))

    async def _begin(self) -> None:
        """Starts the search, or brings it to where its journal ends."""
        past = None
        if self.journal is not None:
            self.journal.track(self.problem.id, lambda: self.chain)
            past = self.journal.past.get(self.problem.id)
        if past is None or not past.events:
            self._execute(self._start())
            return
        pending = self._replay(past)
        if pending is None:
            assert self.journal is not None
            self.journal.reset(self.problem.id)
            self._start_afresh()
            self._execute(self._start())
            return
        self.gauges.replayed += len(past.events)
        self.executor.resume()
        asked = pending.budget_request
        if asked is not None and pending.granted and self.ports.share is not None:
            await self.ports.share(Need(self.problem.id, asked.unspent, asked.wanted), answered=True)
        self._execute([pending.finished] if pending.finished else pending.commands())
        for event in pending.cancelled():
            self.inbox.put(event)

    def _replay(self, past: Past) -> PendingCommands | None:
        """Gives the search the events of its journal again; returns the commands that they left without an answer, or
        None if the search does not do again what its journal says it did."""
        pending = PendingCommands()
        pending.issued(self._start())
        for event in past.events:
            pending.answered(event)
            pending.issued(self._handle(event))
            mark = past.marks.get(self.chain.events)
            if mark is not None and mark != self.chain.digest:
                return None
        return pending

    def _start(self) -> list[Command]:
        return self._followed(self.search.start())

    def _handle(self, event: Event) -> list[Command]:
        self.chain.events += 1
        commands = self.search.handle(event)
        return self._followed(commands) if commands else commands

    def _followed(self, commands: list[Command]) -> list[Command]:
        if commands and self.journal is not None:
            self.chain.follow(commands)
        return commands

    def _execute(self, commands: list[Command]) -> None:
        for command in commands:
            if type(command) is Verify:  # one a trajectory
                self.executor.verify(command)
            elif isinstance(command, Finished):
                self.finished = command.reason
            else:
                self.executor.execute(command)


async def _decide_by_majority(loop: SearchLoop, spec: MajoritySpec, agree: Agreeing) -> None:
    """Gives the leaves of a finished search verdicts from all of them together, where a problem has no gold answer."""
    tree = loop.search.tree
    leaves = [leaf for leaf in tree.leaves() if leaf.verdict is not None]
    responses = {leaf.node_id: loop.executor.spoken(leaf.node_id) for leaf in leaves}
    scored = all(leaf.orm is not None for leaf in leaves)
    drawn = votes(tree, loop.search.heads)
    weights = {leaf.node_id: drawn[leaf.node_id].weight * ((leaf.orm or 0.0) if scored else 1.0) for leaf in leaves}
    chains = {leaf.node_id: drawn[leaf.node_id].chain for leaf in leaves}
    verdicts = await agree(ConsensusRequest(loop.problem.id, spec, responses, weights, chains))
    for leaf in leaves:
        leaf.verdict = verdicts[leaf.node_id]
