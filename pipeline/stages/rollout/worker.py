"""A lease: a few problems that one worker searches and commits together.

    Lease ─► LeaseWorker.run ─► a search per problem on one engine ─► assembly ─► shards (the commit) ─► LeaseReport

One worker runs many leases at once; `admission` decides when the next search begins: enough to keep the engine full,
few enough that started trees keep their prefixes in its cache. Knows no Ray; the local runtime and the
rollout actor both hold one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from berry.pipeline import logs
from berry.pipeline.config import run as run_config
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.allocate import Need
from berry.pipeline.core.search import sizes
from berry.pipeline.engines.base import Engine, RecomputesLogprobs
from berry.pipeline.errors import EngineError, StorageError, first_error
from berry.pipeline.records import DropReason, Problem, TokenLedger
from berry.pipeline.stages.checking.question import Agreeing, Deciding, Verifying
from berry.pipeline.stages.leases.lease import Gauges, Lease, LeaseReport, Snapshot
from berry.pipeline.stages.rollout import assembly
from berry.pipeline.stages.rollout.admission import Admission, searches_at_once
from berry.pipeline.stages.rollout.commit import commit
from berry.pipeline.stages.rollout.journal import LeaseJournal
from berry.pipeline.stages.rollout.leaf_budget import LeafBudget
from berry.pipeline.stages.rollout.ports import Grown, Ports, Scorer, Share
from berry.pipeline.stages.rollout.search_loop import grow
from berry.pipeline.storage.files import Location

FLUSH_S = 1.0
log = logging.getLogger(__name__)


@dataclass(slots=True)
class LeaseWorker:
    config: RunConfig
    location: Location
    engine: Engine
    verify: Verifying
    worker_id: str
    round_index: int = 0
    scorer: Scorer | None = None
    agree: Agreeing | None = None
    verify_here: Deciding | None = None
    end_scores: tuple[str, ...] = ()
    gauges: Gauges = field(default_factory=Gauges)
    _admission: Admission | None = None
    _journals: dict[int, LeaseJournal] = field(default_factory=dict)
    _growing: set[asyncio.Task[Any]] = field(default_factory=set)
    _flushing: asyncio.Task[None] | None = None

    async def run(self, lease: Lease) -> LeaseReport:
        """Searches every problem of a lease and commits the results. Raises EngineError, StorageError."""
        if lease.round_index > self.round_index:
            raise EngineError(f"{self.worker_id} has not heard of round {lease.round_index} yet")
        if lease.round_index < self.round_index:  # other sites ended that round without this one
            return LeaseReport(lease.number, self.worker_id, 0, 0, 0, 0, {}, TokenLedger(), 0.0, late=True)
        with logs.bound(run=self.config.name, round=self.round_index, lease=lease.number, worker=self.worker_id):
            log.info("lease begins", extra={"ids": {"attempt": lease.attempt, "problems": len(lease.problems)}})
            report = await self._run(lease)
            done = {"kept": report.kept, "trajectories": report.trajectories, "wall_s": round(report.wall_s, 3)}
            log.info("lease too late" if report.late else "lease committed", extra={"ids": done})
        return report

    async def _run(self, lease: Lease) -> LeaseReport:
        started = time.monotonic()
        journal = await self._open_journal(lease)
        sharing = LeafBudget.among((p.id for p in lease.problems), self.config.seed)
        task = asyncio.current_task()
        assert task is not None
        self._growing.add(task)
        try:
            grown = await (self._one_by_one if lease.alone else self._together)(lease, journal, sharing)
        finally:
            self._growing.discard(task)
            self._journals.pop(lease.number, None)
        tables = assembly.assemble(grown, self.engine, rules=self.config.pruning, rollout=self.config.rollout)
        for one in grown:
            one.search.tree.dispose()
        for problem_id, trajectory_id, reason in tables.unchecked():
            ids = {"problem": problem_id, "trajectory": trajectory_id}
            log.warning("can't be checked: %s", reason, extra={"ids": ids})
        for problem in lease.problems:
            if problem.id in journal.deadly:
                tables.refuse(problem, DropReason.QUARANTINED, "it killed its worker, run alone, after two failures")
        report = LeaseReport(
            lease=lease.number,
            worker=self.worker_id,
            problems=len(lease.problems),
            solved=tables.solved,
            trajectories=tables.n_trajectories,
            kept=tables.n_kept,
            drops=tables.drops,
            ledger=tables.ledger,
            wall_s=time.monotonic() - started,
        )
        info = self.engine.info
        metadata = {
            "config": run_config.digest(self.config),
            "engine": info.engine_id,
            "model": info.model,
            "synthetic": str(info.synthetic).lower(),
            "weights": info.weights_version,
            "rewards": json.dumps(dict(self.scorer.versions()) if self.scorer is not None else {}),
            "report": json.dumps(asdict(report)),
            "logprobs": json.dumps({"mode": info.logprobs_mode, **self._distribution()}),
        }
        written = await commit(
            self.location,
            round_index=self.round_index,
            lease=lease.number,
            token=lease.token,
            age_s=time.monotonic() - started,
            journal=journal,
            tables=tables.by_name(),
            metadata=metadata,
        )
        if not written:  # the journal is the other one's
            return replace(report, late=True)
        await journal.remove()
        return report

    async def _together(self, lease: Lease, journal: LeaseJournal, sharing: LeafBudget) -> list[Grown]:
        try:
            async with asyncio.TaskGroup() as group:
                searches = [group.create_task(self._search(problem, journal, sharing)) for problem in lease.problems]
        except BaseExceptionGroup as errors:
            raise first_error(errors) from errors
        return [task.result() for task in searches]

    async def _one_by_one(self, lease: Lease, journal: LeaseJournal, sharing: LeafBudget) -> list[Grown]:
        for problem in lease.problems:  # they don't run at once, so nothing can be shared between them
            sharing.leave(problem.id)
        grown: list[Grown] = []
        for problem in lease.problems:
            if problem.id not in journal.deadly:
                await journal.begin_alone(problem.id)
                grown.append(await self._search(problem, journal, sharing))
                journal.end_alone(problem.id)
        return grown

    async def _open_journal(self, lease: Lease) -> LeaseJournal:
        journal = LeaseJournal(self.location, lease.number, self.round_index)
        earlier = lease.attempt + lease.takeovers
        if lease.resumed or earlier:
            await asyncio.to_thread(journal.load, attempt=earlier)
        if earlier:
            await journal.begin()
        self._journals[lease.number] = journal
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_journals())
        return journal

    async def _flush_journals(self) -> None:
        """About once a second while any lease is open."""
        while self._journals:
            await asyncio.sleep(FLUSH_S)
            for journal in list(self._journals.values()):
                try:
                    await journal.flush()
                except StorageError:
                    log.exception("journal of lease %d: will be written again", journal.lease)

    async def close(self) -> None:
        """Writes down what leases in flight have so far; their searches go on from there in the next run. They end
        before the engine does: requests that it cuts off would look like ends of their own, and be committed."""
        for journal in list(self._journals.values()):
            await journal.flush()
        if self._flushing is not None:
            self._flushing.cancel()
        growing = list(self._growing)
        for task in growing:
            task.cancel()
        if growing:
            await asyncio.wait(growing)
        await self.engine.close()

    async def _search(self, problem: Problem, journal: LeaseJournal, sharing: LeafBudget) -> Grown:
        admission = self._gate()

        async def share(need: Need, *, answered: bool = False) -> int:
            """Waits without holding a place, so that the searches it waits for can have one."""
            sharing.settle(need)
            if answered:
                return 0
            admission.leave()
            try:
                return await sharing.granted(problem.id)
            finally:
                await admission.enter()

        with logs.bound(problem=problem.id):
            return await self._admitted(problem, journal, sharing, admission, share)

    async def _admitted(
        self, problem: Problem, journal: LeaseJournal, sharing: LeafBudget, admission: Admission, share: Share
    ) -> Grown:
        self.gauges.queued += 1
        await admission.enter()
        self.gauges.queued -= 1
        try:
            return await grow(
                problem,
                Ports(self.engine, self.verify, self.scorer, self.agree, self.verify_here, share, self.end_scores),
                self.config.rollout,
                run_seed=self.config.seed,
                round_index=self.round_index,
                gauges=self.gauges,
                journal=journal,
            )
        finally:
            admission.leave()
            sharing.leave(problem.id)

    def _gate(self) -> Admission:
        if self._admission is None:
            seqs = self.engine.info.max_num_seqs
            rollout = self.config.rollout
            limit, width = searches_at_once(rollout, seqs), sizes.width(rollout)
            self._admission = Admission(self.engine.counters, max_num_seqs=seqs, limit=limit, width=width)
        return self._admission

    def _distribution(self) -> dict[str, float]:
        """The settings that turn the model's probabilities into those that tokens are drawn with."""
        return self.config.rollout.sampling.model_dump(include={"temperature", "top_p", "top_k", "min_p"})

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        """Of a response, computed anew, with the version of the weights that gave them. Raises EngineError where the
        engine can't, or when it took new weights meanwhile."""
        if not isinstance(self.engine, RecomputesLogprobs):
            raise EngineError(f"{self.worker_id}: its engine type can't compute log-probabilities again")
        before = self.engine.info.weights_version
        values = await self.engine.logprobs(prompt_ids, response_ids)
        if self.engine.info.weights_version != before:
            raise EngineError(f"{self.worker_id} took new weights meanwhile")
        return before, values

    def snapshot(self) -> Snapshot:
        return Snapshot(self.worker_id, self.gauges, self.engine.counters(), self.engine.info.max_num_seqs)
