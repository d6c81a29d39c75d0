"""One search, driven: commands go out as errands; their results come back as events.

    Search.start/handle ─► command ─► Errands ─► Ports ─► event ─► Search.handle ─► …

Nothing waits for anything but its own result: a verdict that takes seconds holds up no other branch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from berry.pipeline.config.rollout import Rollout
from berry.pipeline.core.allocate import Need
from berry.pipeline.core.events import Command, Event, Expired, Finished, FinishReason, Verify
from berry.pipeline.core.search import audit
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.registry import make_search
from berry.pipeline.records import Problem
from berry.pipeline.stages.checking.question import Agreeing
from berry.pipeline.stages.leases.lease import Gauges
from berry.pipeline.stages.rollout.executor import CommandExecutor
from berry.pipeline.stages.rollout.final_scores import score_ends
from berry.pipeline.stages.rollout.journal import Chain, LeaseJournal, Past
from berry.pipeline.stages.rollout.pending import PendingCommands
from berry.pipeline.stages.rollout.ports import Grown, Ports
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
) -> Grown:
    """Runs one problem's search to its end, from where its journal ends if there is one. Raises EngineError when the
    engine is dead; everything else is data."""
    messages = problem.messages
    if rollout.system_prompt and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": rollout.system_prompt}, *messages]
    prompt_ids = ports.engine.encode(messages)
    if audit.is_audited(problem.id, rollout, run_seed=run_seed):
        rollout = audit.unpruned(rollout)

    def fresh() -> Search:
        return make_search(
            problem.id,
            prompt_ids,
            rollout,
            run_seed=run_seed,
            round_index=round_index,
            context_len=ports.engine.info.max_model_len,
        )

    driver = SearchLoop(problem, ports, fresh, gauges, journal)
    gauges.searching += 1
    try:
        await driver.run()
        if ports.scorer is not None and ports.end_scores:
            await score_ends(driver.search.tree, ports.scorer, ports.end_scores)
        if isinstance(problem.verifier, MajoritySpec) and ports.agree is not None:
            await _decide_by_majority(driver, problem.verifier, ports.agree)
    finally:
        gauges.searching -= 1
    return Grown(problem, prompt_ids, driver.search, responses=driver.executor.responses)


class _Inbox:
    """Events in the order they came, taken all at once: an asyncio queue costs several calls for each."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._fault: BaseException | None = None
        self._reader: asyncio.Future[None] | None = None

    def put(self, event: Event) -> None:
        self._events.append(event)
        if self._reader is not None:
            self._wake()

    def fail(self, fault: BaseException) -> None:
        """What was to fetch an event has failed: the reader does."""
        self._fault = self._fault or fault
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    async def take(self) -> list[Event]:
        """All there are, at least one; what had come before a fault comes before it."""
        while not self._events:
            if self._fault is not None:
                raise self._fault
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        events, self._events = self._events, []
        return events


class SearchLoop:
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
        self._afresh()

    def _afresh(self) -> None:
        self.search = self.fresh()
        self.chain = Chain()
        self.executor = CommandExecutor(
            self.problem, self.ports, self.search, self.gauges, self.inbox.put, self.inbox.fail
        )

    async def run(self) -> None:
        wall_s = self.search.rollout.budget.max_wall_s
        clock = asyncio.get_running_loop()
        alarm = clock.call_later(wall_s, self.inbox.put, Expired()) if wall_s is not None else None
        try:
            await self._begin()
            while self.finished is None:
                self._answer(await self.inbox.take())
        finally:
            if alarm is not None:
                alarm.cancel()
            await self.executor.stop()

    def _answer(self, events: list[Event]) -> None:
        """What comes after the search's end is nobody's answer any more."""
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
                    self._obey(commands)
                    if self.finished is not None:
                        break
        finally:
            if self.journal is not None:
                self.journal.record(self.problem.id, *events[:done])

    async def _begin(self) -> None:
        """Starts the search, or brings it to where its journal ends."""
        past = None
        if self.journal is not None:
            self.journal.track(self.problem.id, lambda: self.chain)
            past = self.journal.past.get(self.problem.id)
        if past is None or not past.events:
            self._obey(self._start())
            return
        left = self._replay(past)
        if left is None:
            assert self.journal is not None
            self.journal.reset(self.problem.id)
            self._afresh()
            self._obey(self._start())
            return
        self.gauges.replayed += len(past.events)
        if left.settled is not None and left.granted and self.ports.share is not None:
            await self.ports.share(Need(self.problem.id, left.settled.unspent, left.settled.wanted), answered=True)
        self._obey([left.finished] if left.finished else left.commands())
        for event in left.cancelled():
            self.inbox.put(event)

    def _replay(self, past: Past) -> PendingCommands | None:
        """None if the search does not do again what its journal says it did."""
        left = PendingCommands()
        left.issued(self._start())
        for event in past.events:
            left.answered(event)
            left.issued(self._handle(event))
            mark = past.marks.get(self.chain.events)
            if mark is not None and mark != self.chain.digest:
                return None
        return left

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

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            if type(command) is Verify:  # one a trajectory
                self.executor.verify(command)
            elif isinstance(command, Finished):
                self.finished = command.reason
            else:
                self.executor.run(command)


async def _decide_by_majority(driver: SearchLoop, spec: MajoritySpec, agree: Agreeing) -> None:
    """After the search: leaves that could not be checked one by one get verdicts from all together."""
    tree = driver.search.tree
    leaves = [leaf for leaf in tree.leaves() if leaf.verdict is not None]
    responses = {leaf.node_id: driver.executor.response(leaf.node_id) for leaf in leaves}
    weights = {leaf.node_id: leaf.orm for leaf in leaves if leaf.orm is not None}
    complete = len(weights) == len(leaves)
    verdicts = await agree(ConsensusRequest(driver.problem.id, spec, responses, weights if complete else None))
    for leaf in leaves:
        leaf.verdict = verdicts[leaf.node_id]
