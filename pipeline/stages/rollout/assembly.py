"""Makes the rows of a lease from its finished searches: values, texts, pruning, labels.

    [Grown] (and what is stored of a run that is labelled) ─► nodes, trajectories ─► Tables (prunes them) ─► columns

Work of some seconds where problems have thousands of long answers: it belongs in a thread (worker.py), so that it knows
no event loop, and touches nothing but what it is given.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core import ledger
from berry.pipeline.engines.base import Engine, EngineInfo
from berry.pipeline.records import DropReason, TokenLedger
from berry.pipeline.stages.dataset.rows import made_by_engine
from berry.pipeline.stages.dataset.tables import Tables
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.rollout.annotation import StoredLease, StoredSearch, records_of
from berry.pipeline.stages.rollout.ports import Grown
from berry.pipeline.stages.rollout.texts import fill_texts, settle_texts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assembly:
    """Assembles leases. `info`: what the engine was when they were searched; `stored`: what a run that is labelled
    holds of the lease."""

    config: RunConfig
    engine: Engine
    info: EngineInfo
    stored: StoredLease | None = None

    def tables(self, lease: Lease, grown: Sequence[Grown], deadly: Collection[str]) -> Tables:
        """Pruned, labelled rows of a lease in the order of its problems, whatever order their searches ended in.
        `deadly`: problems that killed their worker. The trees of `grown` are taken apart."""
        tables, stored = Tables(), self.stored
        spent = [self._add_search(tables, one) for one in grown]
        tables.ledger = ledger.add(spent if stored is None else [stored.spent, *spent])
        for one in grown:
            one.search.tree.dispose()
        unchecked = list(tables.unchecked())
        for reason, count in Counter(reason for _, _, reason in unchecked).items():
            first = next(trajectory for _, trajectory, why in unchecked if why == reason)
            log.warning("%d trajectories can't be checked: %s", count, reason, extra={"ids": {"trajectory": first}})
        there = {one.problem.id for one in grown}
        for problem in lease.problems:
            if stored is not None and problem.id not in there:
                self._add_unlabelled(tables, stored.searches[problem.id])
            elif problem.id in deadly:
                tables.refuse(problem, DropReason.QUARANTINED, "it killed its worker, run alone, after two failures")
        return tables

    def _add_search(self, tables: Tables, grown: Grown) -> TokenLedger:
        """Adds one problem's rows; returns the tokens it took."""
        search, engine, stored = grown.search, self.engine, self.stored
        rules, rollout = self.config.pruning, self.config.rollout
        values = search.values()
        nodes = search.nodes(values)
        fill_texts(nodes, engine)
        if stored is None:
            problem, made_by, decided = grown.problem, made_by_engine(self.info), None
            trajectories = search.trajectories()
            nodes[0].messages = problem.messages_under(rollout.system_prompt)
        else:
            before = stored.searches[grown.problem.id]
            problem, made_by = before.problem, stored.made_by
            trajectories, decided = map(list, zip(*records_of(before, search), strict=True))
            nodes[0].messages = before.messages
        for trajectory in trajectories:
            trajectory.response = (
                trajectory.response
                or grown.responses.get(trajectory.leaf)
                or engine.decode(search.tree.response_ids(trajectory.leaf))
            )
        settle_texts(nodes, trajectories, engine)
        tables.add(problem, nodes, trajectories, values, rules=rules, rollout=rollout, made_by=made_by, decided=decided)
        return ledger.settle(search.ledger.snapshot(), search.tree, trajectories)

    def _add_unlabelled(self, tables: Tables, search: StoredSearch) -> None:
        """Adds what is stored of a problem for which nothing grew, or whose labelling killed its worker."""
        if search.nodes:
            self._add_search(tables, Grown(search.problem, search.prompt_ids, search.search(self.engine)))
            return
        for row in search.trajectories:
            tables.add_stored(row)
