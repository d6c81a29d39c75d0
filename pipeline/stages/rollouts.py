"""One search, driven: commands go out to engine, scorer and verifier; results come back as events.

    Search.start/handle ─► command ─► a task here ─► Ports ─► event ─► Search.handle ─► …

Nothing waits for anything but its own result: a verdict that takes seconds holds up no other branch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from pipeline.config.rollout import Rollout
from pipeline.core.allocate import Need
from pipeline.core.events import (
    Cancel,
    Cancelled,
    Command,
    Completion,
    Event,
    Expired,
    Failed,
    Finished,
    FinishReason,
    Generate,
    Granted,
    Score,
    Scored,
    Segment,
    Settled,
    Verified,
    Verify,
)
from pipeline.core.scorers import SCORERS
from pipeline.core.search import audit
from pipeline.core.search.base import Search
from pipeline.core.search.registry import make_search
from pipeline.core.steps import answer_part, token_ends
from pipeline.engines.base import Request
from pipeline.errors import EngineError
from pipeline.records import Finish, Problem
from pipeline.stages.journal import Chain, LeaseJournal, Past
from pipeline.stages.outstanding import Outstanding
from pipeline.stages.ports import Agreeing, Gauges, Grown, Ports
from pipeline.stages.scoring import score_ends
from verifiers.checker import CheckRequest
from verifiers.majority import ConsensusRequest
from verifiers.specs import MajoritySpec


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

    driver = _Driver(problem, ports, fresh, gauges, journal)
    gauges.searching += 1
    try:
        await driver.run()
        if ports.scorer is not None and ports.end_scores:
            await score_ends(driver.search.tree, ports.scorer, ports.end_scores)
        if isinstance(problem.verifier, MajoritySpec) and ports.agree is not None:
            await driver.decide_by_majority(problem.verifier, ports.agree)
    finally:
        gauges.searching -= 1
    return Grown(problem, prompt_ids, driver.search, responses=driver.responses)


class _Driver:
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
        self.search = fresh()
        self.gauges = gauges
        self.journal = journal
        self.chain = Chain()
        self.responses: dict[str, str] = {}
        self.events: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        self.tasks: set[asyncio.Task[None]] = set()
        self.generating: dict[str, dict[str, set[int]]] = {}  # node -> request id -> indices still to come
        self.requests = 0
        self.finished: FinishReason | None = None

    async def run(self) -> None:
        wall_s = self.search.rollout.budget.max_wall_s
        clock = asyncio.get_running_loop()
        alarm = clock.call_later(wall_s, self.events.put_nowait, Expired()) if wall_s is not None else None
        try:
            await self._begin()
            while self.finished is None:
                event = await self.events.get()
                if isinstance(event, BaseException):
                    raise event
                if self.journal is not None:
                    self.journal.record(self.problem.id, event)
                self._obey(self._handle(event))
        finally:
            if alarm is not None:
                alarm.cancel()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

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
            self.search, self.chain = self.fresh(), Chain()
            self._obey(self._start())
            return
        self.gauges.replayed += len(past.events)
        if left.settled is not None and left.granted and self.ports.share is not None:
            await self.ports.share(Need(self.problem.id, left.settled.unspent, left.settled.wanted), answered=True)
        self._obey([left.finished] if left.finished else left.commands())
        for event in left.cancelled():
            self.events.put_nowait(event)

    def _replay(self, past: Past) -> Outstanding | None:
        """None if the search does not do again what its journal says it did."""
        left = Outstanding()
        left.issued(self._start())
        for event in past.events:
            left.answered(event)
            left.issued(self._handle(event))
            if past.marks.get(self.chain.events, self.chain.digest) != self.chain.digest:
                return None
        return left

    def _start(self) -> list[Command]:
        commands = self.search.start()
        self.chain.follow(commands)
        return commands

    def _handle(self, event: Event) -> list[Command]:
        commands = self.search.handle(event)
        self.chain.events += 1
        self.chain.follow(commands)
        return commands

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Generate():
                    self._spawn(self._generate(command, self._register(command)))
                case Verify():
                    self._spawn(self._verify(command))
                case Score():
                    self._spawn(self._score(command))
                case Cancel():
                    self._spawn(self._cancel(command))
                case Settled():
                    self._spawn(self._settle(command))
                case Finished(reason):
                    self.finished = reason

    def _spawn(self, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - handed to the search's own task, which raises it
                self.events.put_nowait(error)

        task = asyncio.create_task(guarded())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def _register(self, command: Generate) -> str:
        """Before its task runs, so that a Cancel that follows at once finds the request."""
        self.requests += 1
        request_id = f"{self.problem.id}/{command.node}/{command.seed:x}/{self.requests}"
        expected = {command.first_index + i for i in range(command.n)}
        self.generating.setdefault(command.node, {})[request_id] = expected
        return request_id

    async def _generate(self, command: Generate, request_id: str) -> None:
        expected = self.generating[command.node][request_id]
        request = Request(
            request_id=request_id,
            prompt_ids=self.search.tree.prefix_ids(command.node),
            n=command.n,
            until=command.until,
            sampling=command.sampling,
            seed=command.seed,
            priority=command.priority,
        )
        cancelled_tokens = 0
        try:
            async for sample in self.ports.engine.generate(request):
                index = command.first_index + sample.index
                if sample.completion.finish is Finish.CANCELLED:
                    cancelled_tokens += len(sample.completion.token_ids)
                    continue
                expected.discard(index)
                self.events.put_nowait(Segment(command.node, index, self._with_ends(sample.completion, command)))
        finally:
            self.generating[command.node].pop(request_id, None)
        if expected:
            self.events.put_nowait(Cancelled(command.node, tuple(sorted(expected)), cancelled_tokens))

    def _with_ends(self, completion: Completion, command: Generate) -> Completion:
        """Engines need not know where each token ends in the text; a search that forks inside a segment does."""
        if not command.until.token_ends or completion.token_ends or not completion.token_ids:
            return completion
        return replace(completion, token_ends=token_ends(completion.token_ids, self.ports.engine.decode))

    async def _verify(self, command: Verify) -> None:
        text = self.response(command.node)
        request = CheckRequest(
            problem_id=self.problem.id,
            spec=self.problem.verifier,
            response=answer_part(text, self.search.rollout.thinking),
            prompt=self.problem.prompt if isinstance(self.problem.prompt, str) else "",
            key=self.problem.id,
        )
        gauges = self.gauges
        gauges.leaves += 1
        gauges.verifying += 1
        try:
            verdict = await self.ports.verify(request)
        finally:
            gauges.verifying -= 1
        gauges.verified += 1
        gauges.passed += verdict.passed
        gauges.unverifiable += verdict.outcome == "unverifiable"
        self.events.put_nowait(Verified(command.node, verdict))

    async def _score(self, command: Score) -> None:
        if command.model in SCORERS:
            value = SCORERS[command.model](self.search.tree, command.node)
            if value is None:
                self.events.put_nowait(Failed(command.node, "nothing to score by yet", what="score"))
            else:
                self.events.put_nowait(Scored(command.node, value, command.model))
            return
        if self.ports.scorer is None:
            reason = f"no scorer serves the model {command.model!r}"
            self.events.put_nowait(Failed(command.node, reason, what="score"))
            return
        prefix = self.search.tree.prefix_ids(command.node)
        response = self.search.tree.response_ids(command.node)
        try:
            value = await self.ports.scorer.score(
                model=command.model, prompt_ids=prefix[: len(prefix) - len(response)], response_ids=response
            )
        except EngineError as error:
            self.events.put_nowait(Failed(command.node, str(error), what="score"))
            return
        self.events.put_nowait(Scored(command.node, value, command.model))

    async def _cancel(self, command: Cancel) -> None:
        for request_id in list(self.generating.get(command.node, ())):
            await self.ports.engine.cancel(request_id)

    async def decide_by_majority(self, spec: MajoritySpec, agree: Agreeing) -> None:
        """After the search: leaves that could not be checked one by one get verdicts from all together."""
        tree = self.search.tree
        leaves = [leaf for leaf in tree.leaves() if leaf.verdict is not None]
        responses = {leaf.node_id: self.response(leaf.node_id) for leaf in leaves}
        weights = {leaf.node_id: leaf.orm for leaf in leaves if leaf.orm is not None}
        complete = len(weights) == len(leaves)
        verdicts = await agree(ConsensusRequest(self.problem.id, spec, responses, weights if complete else None))
        for leaf in leaves:
            leaf.verdict = verdicts[leaf.node_id]

    def response(self, leaf: str) -> str:
        if leaf not in self.responses:
            self.responses[leaf] = self.ports.engine.decode(self.search.tree.response_ids(leaf))
        return self.responses[leaf]

    async def _settle(self, command: Settled) -> None:
        leaves = 0
        if self.ports.share is not None:
            leaves = await self.ports.share(Need(self.problem.id, command.unspent, command.wanted))
        self.events.put_nowait(Granted(leaves))
