"""Runs leases: searches a few problems on one engine and commits what they gave, all together.

    Lease ─► open journal ─► search every problem ─► assemble rows ─► commit ─► LeaseReport

One worker runs many leases at once; `admission` decides when the next search begins: enough of them to keep the engine
full, few enough that started trees keep their prefixes in its cache. It knows no Ray: a run in one process and a
rollout actor each hold one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from berry.pipeline import logs
from berry.pipeline.config import run as run_config
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.allocate import Need
from berry.pipeline.core.assignment.modes import template_args_of
from berry.pipeline.core.events import Sampling
from berry.pipeline.core.search import audit, sizes
from berry.pipeline.core.search.limits import sampling
from berry.pipeline.engines.base import Engine, EngineInfo, RecomputesLogprobs
from berry.pipeline.engines.text.template_view import under
from berry.pipeline.errors import EngineError, StorageError, first_error
from berry.pipeline.records import Problem, TokenLedger
from berry.pipeline.stages.checking.question import Agreeing, Deciding, Verifying
from berry.pipeline.stages.dataset.tables import Tables
from berry.pipeline.stages.leases.lease import FirstResultCounts, Gauges, Lease, LeaseReport, Snapshot, UnlessReplaced
from berry.pipeline.stages.rollout.admission import Admission, searches_at_once
from berry.pipeline.stages.rollout.annotation import StoredLease, read_stored
from berry.pipeline.stages.rollout.assembly import Assembly
from berry.pipeline.stages.rollout.commands.ports import Calling, Grown, Ports, Scorer
from berry.pipeline.stages.rollout.journal import LeaseJournal, flush_together
from berry.pipeline.stages.rollout.leaf_budget import LeafBudget
from berry.pipeline.stages.rollout.loop_delay import LoopDelay
from berry.pipeline.stages.rollout.named_scorer import scored_at_end, scorer_of
from berry.pipeline.stages.rollout.search_loop import grow
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import shards
from berry.pipeline.storage.parquet.shards import Rows
from berry.pipeline.storage.run import claims, segments
from berry.pipeline.storage.run.directory import revised_run
from berry.pipeline.storage.run.local_journals import local_journals
from berry.pipeline.storage.run.segments import BatchWriter

JOURNAL_FLUSH_S = 1.0  # between two writings of what the open leases recorded: what a crash loses at most
YOUNG_S = 10.0  # no attempt at a lease is given up sooner, so none that is younger can have been replaced
log = logging.getLogger(__name__)


@dataclass(slots=True)
class LeaseWorker:
    """Serves leases on `engine`, with checks by `verify`, until `close`.

    verify, agree, verify_here: one response; a problem's responses together (majority); on the spot, without a tool
    call: tool calls
    scorer, end_scores: reward models, and which of them score every node of a finished search
    engine_name: the one of `engines` that `engine` is; "" where the run has one
    round_index: the round whose weights the engine has; leases of another round are not run
    """

    config: RunConfig
    location: Location
    engine: Engine
    verify: Verifying
    worker_id: str
    engine_name: str = ""
    round_index: int = 0
    scorer: Scorer | None = None
    agree: Agreeing | None = None
    verify_here: Deciding | None = None
    end_scores: tuple[str, ...] = ()
    call: Calling | None = None
    gauges: Gauges = field(default_factory=Gauges)
    _admission: Admission | None = None
    _journals: dict[int, LeaseJournal] = field(default_factory=dict)  # of the leases that are open
    _open_leases: set[asyncio.Task[Any]] = field(default_factory=set)
    _flushing: asyncio.Task[None] | None = None
    _batches: tuple[int, BatchWriter] | None = None  # of a round
    _local: Location | None = None  # where journals are on this host
    _assembling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _delay: LoopDelay = field(default_factory=LoopDelay)
    _watching: asyncio.Task[None] | None = None
    _serving: int = 0  # leases, from their journal to their commit

    async def run(self, lease: Lease) -> LeaseReport:
        """Searches every problem of a lease and commits the results. Raises EngineError, StorageError."""
        if lease.round_index > self.round_index:
            raise EngineError(f"{self.worker_id} has not been told of round {lease.round_index} yet")
        if lease.round_index < self.round_index:  # other sites ended that round without this one
            return LeaseReport(lease.number, self.worker_id, 0, 0, 0, 0, {}, TokenLedger(), 0.0, late=True)
        with logs.bound(run=self.config.name, round=self.round_index, lease=lease.number, worker=self.worker_id):
            log.info("lease begins", extra={"ids": {"attempt": lease.attempt, "problems": len(lease.problems)}})
            report = await self._watched(lease)
            done = {"kept": report.kept, "trajectories": report.trajectories, "wall_s": round(report.wall_s, 3)}
            log.info("lease too late" if report.late else "lease committed", extra={"ids": done})
        return report

    async def _watched(self, lease: Lease) -> LeaseReport:
        """Runs a lease, and measures how late the event loop is while any runs."""
        self._serving += 1
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._delay.watch(wanted=lambda: self._serving > 0))
        try:
            return await self._run(lease)
        finally:
            self._serving -= 1

    async def _run(self, lease: Lease) -> LeaseReport:
        started = time.monotonic()
        stored = await self._read_stored(lease)
        journal = await self._open_journal(lease)
        grown = await self._search_all(lease, journal, stored)
        info = self.engine.info  # it may have other weights by the time the rows are made
        tables = await self._assemble(lease, grown, journal, Assembly(self.config, self.engine, info, stored))
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
            modes=tables.modes,
            engine=self.engine_name,
            goes_on=tables.goes_on,
        )
        written = await commit(
            self.location,
            lease,
            round_index=self.round_index,
            age_s=time.monotonic() - started,
            journal=journal,
            tables=tables.by_name(),
            metadata=self._metadata(report, info, stored),
        )
        if not written:  # the journal belongs to the attempt that counts
            return replace(report, late=True)
        await journal.remove()
        return report

    async def _read_stored(self, lease: Lease) -> StoredLease | None:
        """What is to be labelled of the lease, where the run labels another."""
        if self.config.annotation is None:
            return None
        source = revised_run(self.location)
        return await asyncio.to_thread(read_stored, source, self.config, lease, self.round_index)

    # ---- the journal ------------------------------------------------------------------------------------------------

    async def _open_journal(self, lease: Lease) -> LeaseJournal:
        journal = await asyncio.to_thread(self._journal_of, lease)
        if lease.resumed or lease.attempt or journal.local is not None:
            await asyncio.to_thread(journal.load, attempt=lease.attempt)
        if (lease.resumed or lease.attempt) and not journal.past and (journal.local is not None or journal.is_off):
            log.warning(
                "lease %d was begun before, and storage.journal (%s) has nothing of it here: what was in flight is "
                "generated again",
                lease.number,
                self.config.storage.journal,
            )
        if lease.attempt:
            await journal.begin()
        self._journals[lease.number] = journal
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_journals())
        return journal

    def _journal_of(self, lease: Lease) -> LeaseJournal:
        """Where storage.journal says; in the run directory where an earlier attempt's is there, and of a lease that is
        searched alone, since what killed its worker is to be known on every host."""
        where = self.config.storage.journal
        if where == "run" or lease.alone or self._has_journal(lease):
            return LeaseJournal(self.location, lease.number, self.round_index, batches=self._batch_writer())
        if where == "off":
            return LeaseJournal(self.location, lease.number, self.round_index, is_off=True)
        if self._local is None:
            self._local = local_journals(self.location, where)
        return LeaseJournal(self.location, lease.number, self.round_index, local=self._local)

    def _has_journal(self, lease: Lease) -> bool:
        """Whether the run directory has more of a lease than the marks of its attempts."""
        if not lease.resumed:
            return False
        attempts = segments.read(self.location, segments.folder(lease.number, self.round_index))
        return any(records for parts in attempts.values() for records in parts)

    def _batch_writer(self) -> BatchWriter | None:
        """One for each round. None on a disk, where a file for each lease costs no more."""
        if self.location.is_local:
            return None
        if self._batches is None or self._batches[0] != self.round_index:
            self._batches = self.round_index, BatchWriter(self.location, self.round_index)
        return self._batches[1]

    async def _flush_journals(self) -> None:
        """Writes the journals about once a second while any lease is open."""
        while self._journals:
            await asyncio.sleep(JOURNAL_FLUSH_S)
            try:
                await self._flush_once()
            except StorageError as error:
                log.warning("the journals of the open leases are not written yet: %s", error)

    async def _flush_once(self) -> None:
        """Raises StorageError where any can't be written."""
        journals = list(self._journals.values())
        together = [journal for journal in journals if journal.batches is not None]
        if together and (writer := together[0].batches) is not None:
            await flush_together(together, writer)
        for journal in journals:
            if journal.batches is None:
                await journal.flush()

    # ---- searches ---------------------------------------------------------------------------------------------------

    async def _search_all(self, lease: Lease, journal: LeaseJournal, stored: StoredLease | None) -> list[Grown]:
        """The finished searches of a lease, in the order of its problems; of one that is labelled those that have a
        tree."""
        if stored is not None:
            lease = replace(lease, problems=tuple(p for p in lease.problems if stored.searches[p.id].nodes))
        budget = LeafBudget.among((p.id for p in lease.problems), self.config.seed)
        task = asyncio.current_task()
        assert task is not None
        self._open_leases.add(task)
        try:
            return await (self._one_by_one if lease.alone else self._together)(lease, journal, budget, stored)
        finally:
            self._open_leases.discard(task)
            self._journals.pop(lease.number, None)

    async def _together(
        self, lease: Lease, journal: LeaseJournal, budget: LeafBudget, stored: StoredLease | None
    ) -> list[Grown]:
        try:
            async with asyncio.TaskGroup() as group:
                searches = [group.create_task(self._search(p, journal, budget, stored)) for p in lease.problems]
        except BaseExceptionGroup as errors:
            raise first_error(errors) from errors
        return [task.result() for task in searches]

    async def _one_by_one(
        self, lease: Lease, journal: LeaseJournal, budget: LeafBudget, stored: StoredLease | None
    ) -> list[Grown]:
        """Without the problems that killed their worker before; the journal says which one is searched."""
        for problem in lease.problems:  # they don't run at once, so nothing can be shared between them
            budget.leave(problem.id)
        grown: list[Grown] = []
        for problem in lease.problems:
            if problem.id not in journal.deadly:
                await journal.begin_alone(problem.id)
                grown.append(await self._search(problem, journal, budget, stored))
                journal.end_alone(problem.id)
        return grown

    async def _search(
        self, problem: Problem, journal: LeaseJournal, budget: LeafBudget, stored: StoredLease | None
    ) -> Grown:
        """Waits for its admission, then runs one problem's search to its end."""
        admission = self._gate()

        async def share(need: Need, *, answered: bool = False) -> int:
            """Waits without holding a place on the engine, so that the searches it waits for can have one."""
            budget.settle(need)
            if answered:
                return 0
            admission.leave()
            try:
                return await budget.granted(problem.id)
            finally:
                await admission.enter()

        engine = under(self.engine, template_args_of(self.config, problem))
        rollout = audit.rollout_for(self.config, problem.id, problem.variant_of or problem.id)
        with logs.bound(problem=problem.id):
            self.gauges.queued += 1
            await admission.enter()
            self.gauges.queued -= 1
            try:
                return await grow(
                    problem,
                    Ports(
                        engine if stored is None else stored.searches[problem.id].reads(engine),
                        self.verify,
                        scorer_of(self.scorer, rollout),
                        self.agree,
                        self.verify_here,
                        share,
                        scored_at_end(self.end_scores, rollout),
                        self.call,
                    ),
                    rollout,
                    run_seed=self.config.seed,
                    round_index=self.round_index,
                    gauges=self.gauges,
                    journal=journal,
                    stored=None if stored is None else stored.searches[problem.id],
                )
            finally:
                admission.leave()
                budget.leave(problem.id)

    def _gate(self) -> Admission:
        if self._admission is None:
            seqs = self.engine.info.max_num_seqs
            rollout = self.config.on_engine(self.engine_name).rollout
            limit, width = searches_at_once(rollout, seqs), max(map(sizes.width, rollout.each_mode))
            self._admission = Admission(self.engine.counters, max_num_seqs=seqs, limit=limit, width=width)
        return self._admission

    # ---- rows -------------------------------------------------------------------------------------------------------

    async def _assemble(
        self, lease: Lease, grown: Sequence[Grown], journal: LeaseJournal, assembly: Assembly
    ) -> Tables:
        """The rows of a lease, one lease at a time. A lease that waits for its turn is open still, so that no more are
        handed out than rows can be made of. Many long answers are made rows in a thread, while the loop goes on serving
        the engine; a few short ones on the loop, with which a thread would wrangle for the interpreter (4% of a
        worker's CPU time)."""
        async with self._assembling:
            for one in grown:
                if assembly.is_short(one):
                    assembly.add(one)
                    await asyncio.sleep(0)
                else:
                    await asyncio.to_thread(assembly.add, one)
            return await asyncio.to_thread(assembly.finish, lease, frozenset(journal.deadly))

    def _metadata(self, report: LeaseReport, info: EngineInfo, stored: StoredLease | None) -> dict[str, str]:
        """What every file of a lease says of how it was made; of one that was labelled, by what, beside what it said
        before."""
        own = {
            "config": run_config.digest(self.config),
            "engine": info.engine_id,
            "model": info.model,
            "synthetic": str(info.synthetic).lower(),
            "weights": info.weights_version,
            "engine_versions": json.dumps(info.versions),
            "template": json.dumps({"hash": info.template_hash, "args": info.template_args}),
            "rewards": json.dumps(dict(self.scorer.versions()) if self.scorer is not None else {}),
            "report": json.dumps(asdict(report)),
            "logprobs": json.dumps({"mode": info.logprobs_mode, **self._distributions()}),
        }
        if stored is None:
            return own
        annotation = self.config.annotation
        assert annotation is not None
        labelled_by = json.dumps(
            {**{key: own[key] for key in ("engine", "model", "weights")}, "prefixes": annotation.prefixes}
        )
        return {**stored.marks, "config": own["config"], "report": own["report"], "labelled_by": labelled_by}

    def _sampling(self) -> Sampling:
        """How tokens are drawn: alike in all modes, where log-probabilities are computed again (`RunConfig`)."""
        return sampling(self.config.rollout.each_mode[0], entropies=False)

    def _distributions(self) -> dict[str, Any]:
        """The settings that turn the model's probabilities into those that tokens are drawn with; of each mode, where
        they are not the same in all."""
        keys = {"temperature", "top_p", "top_k", "min_p"}
        all_modes = [rollout.sampling.model_dump(include=keys) for rollout in self.config.rollout.each_mode]
        if all(one == all_modes[0] for one in all_modes):
            return all_modes[0]
        names = [mode.name for mode in self.config.rollout.modes]
        return {"by_mode": dict(zip(names, all_modes, strict=True))}

    # ---- beside leases ----------------------------------------------------------------------------------------------

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        """Computes the log-probabilities of a response anew, in nats a token; the version of the weights that gave
        them comes first. Raises EngineError where the engine can't, or took new weights meanwhile."""
        if not isinstance(self.engine, RecomputesLogprobs):
            raise EngineError(f"{self.worker_id}: its engine type can't compute log-probabilities again")
        before = self.engine.info.weights_version
        values = await self.engine.logprobs(prompt_ids, response_ids, self._sampling())
        if self.engine.info.weights_version != before:
            raise EngineError(f"{self.worker_id} took new weights meanwhile")
        return before, values

    def snapshot(self) -> Snapshot:
        """What the worker and its engine do just now, for the driver's display, metrics and balance."""
        return Snapshot(
            self.worker_id,
            self.gauges,
            self.engine.counters(),
            self.engine.info.max_num_seqs,
            loop_delay_p99_s=self._delay.quantile(0.99),
        )

    async def close(self) -> None:
        """Writes the journals of leases in flight, from which the next run goes on, and closes the engine. The
        searches end before the engine does: requests that it cuts off would look like ends of their own, and be
        committed."""
        await self._flush_once()
        for task in (self._flushing, self._watching):
            if task is not None:
                task.cancel()
        open_leases = list(self._open_leases)
        for task in open_leases:
            task.cancel()
        if open_leases:
            await asyncio.wait(open_leases)
        await self.engine.close()


async def commit(
    location: Location,
    lease: Lease,
    *,
    round_index: int,
    age_s: float,
    journal: LeaseJournal,
    tables: Mapping[str, Rows],
    metadata: Mapping[str, str],
) -> bool:
    """Writes the three files of a lease in a thread; False, and nothing is written, where another attempt, or another
    site, was first. `age_s`: seconds since this attempt began. Raises StorageError."""

    def write() -> bool:
        match lease.commit_rule:
            case FirstResultCounts(token):
                files = shards.encoded(round_index=round_index, lease=lease.number, tables=tables, metadata=metadata)
                return claims.commit(location, round_index=round_index, lease=lease.number, files=files, token=token)
            case UnlessReplaced():
                if age_s > YOUNG_S and journal.is_replaced():
                    return False
                shards.write(location, round_index=round_index, lease=lease.number, tables=tables, metadata=metadata)
                return True

    return await asyncio.to_thread(write)
