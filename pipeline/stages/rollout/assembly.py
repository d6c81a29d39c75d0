"""Makes the rows of a lease from its finished searches: values, texts, pruning, labels.

    Grown (and what is stored of a run that is labelled) ─► nodes, trajectories ─► Tables (prunes them) ─► columns

Work of some seconds where a problem has thousands of long answers, and of some milliseconds where they are short: the
first belongs in a thread (worker.py), so that it knows no event loop, and touches nothing but what it is given.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core import ledger
from berry.pipeline.core.assignment.modes import given_id, mode_name, rollout_of, template_args_of
from berry.pipeline.core.assignment.routing import goes_on
from berry.pipeline.engines.base import Engine, EngineInfo
from berry.pipeline.records import DropReason, Ending, TokenLedger, Trajectory, ending
from berry.pipeline.stages.dataset.rows import args_json, made_by_engine
from berry.pipeline.stages.dataset.tables import Tables
from berry.pipeline.stages.leases.lease import Lease, add_modes
from berry.pipeline.stages.rollout.annotation import StoredLease, StoredSearch, drawn_to_label, records_of
from berry.pipeline.stages.rollout.commands.ports import Grown
from berry.pipeline.stages.rollout.texts import fill_texts, settle_texts

SHORT_CHARS = 100_000  # of one problem's responses: a tree of 512 short ones has 70,000, and takes some milliseconds
QUICK_RULES = frozenset({"verdict", "length", "orm", "prm", "difficulty", "exact_duplicate", "shortest"})
"""Pruning rules that compare numbers or whole texts. Those that look into texts, or come with other packages, may take
long."""
TOLD = (Ending.PASS, Ending.WRONG, Ending.NO_ANSWER, Ending.TRUNCATED)  # a problem was solved by an answer, or not
log = logging.getLogger(__name__)


def _ending(trajectory: Trajectory) -> Ending:
    verdict = trajectory.verdict
    if verdict is None:
        return ending(None, None, trajectory.finish)
    return ending(verdict.outcome, verdict.reason, trajectory.finish)


@dataclass(slots=True)
class Assembly:
    """Assembles one lease: `add` each of its searches, in the order of its problems, then `finish`.

    `info`: what the engine was when it was searched; `stored`: what a run that is labelled holds of the lease."""

    config: RunConfig
    engine: Engine
    info: EngineInfo
    stored: StoredLease | None = None
    _tables: Tables = field(default_factory=Tables)
    _added: set[str] = field(default_factory=set)  # problems
    _spent: list[TokenLedger] = field(default_factory=list)

    def is_short(self, grown: Grown) -> bool:
        """Whether adding a search takes so little that it holds up no event loop."""
        quick = self.stored is None and all(rule.type in QUICK_RULES for rule in self.config.pruning)
        return quick and sum(map(len, grown.responses.values())) <= SHORT_CHARS

    def add(self, grown: Grown) -> None:
        """Adds the pruned, labelled rows of one search. Its tree is taken apart."""
        self._added.add(grown.problem.id)
        spent = self._add_search(grown)
        self._spent.append(spent)
        mode = mode_name(self.config, grown.problem.id)
        if mode is not None:
            add_modes(self._tables.modes, {mode: {"generated": spent.generated}})
        grown.search.tree.dispose()

    def finish(self, lease: Lease, deadly: Collection[str]) -> Tables:
        """The rows of all searches added. `deadly`: problems that killed their worker."""
        tables, stored = self._tables, self.stored
        tables.ledger = ledger.add(self._spent if stored is None else [stored.spent, *self._spent])
        if stored is not None:
            before: dict[str, dict[str, int]] = json.loads(stored.marks["report"]).get("modes", {})
            tables.goes_on = stored.goes_on
            add_modes(tables.modes, {mode: {"generated": its["generated"]} for mode, its in before.items()})
        unchecked = list(tables.unchecked())
        for reason, count in Counter(reason for _, _, reason in unchecked).items():
            first = next(trajectory for _, trajectory, why in unchecked if why == reason)
            log.warning("%d trajectories can't be checked: %s", count, reason, extra={"ids": {"trajectory": first}})
        for problem in lease.problems:
            if stored is not None and problem.id not in self._added:
                self._add_unlabelled(stored.searches[problem.id])
            elif problem.id in deadly:
                why = "it killed its worker, run alone, after two failures"
                tables.refuse(problem, DropReason.QUARANTINED, why, mode=mode_name(self.config, problem.id))
        return tables

    def _add_search(self, grown: Grown) -> TokenLedger:
        """Adds one problem's rows; returns the tokens it took."""
        tables = self._tables
        search, stored = grown.search, self.stored
        engine = self.engine if stored is None else stored.reads(self.engine)
        rules, rollout = self.config.pruning, rollout_of(self.config, grown.problem.id)
        values = search.values()
        nodes = search.nodes(values)
        pieces = fill_texts(nodes, engine)
        if stored is None:
            problem, made_by, decided = grown.problem, made_by_engine(self.info), None
            trajectories = search.trajectories()
            nodes[0].messages = problem.messages_under(rollout.system_prompt)
            own = template_args_of(self.config, problem)
            nodes[0].template_args = args_json({**self.info.template_args, **own}) if own else None
            nodes[0].problem = problem.model_dump_json()
        else:
            before = stored.searches[grown.problem.id]
            problem, made_by = before.problem, stored.made_by
            trajectories, decided = map(list, zip(*records_of(before, search), strict=True))
            nodes[0].messages = before.messages
            nodes[0].template_args = before.nodes[0]["template_args"]
            nodes[0].problem = before.nodes[0]["problem"]
        mode, model = mode_name(self.config, problem.id), str(made_by["model"])
        labelled = set() if stored is None else drawn_to_label(stored.searches[problem.id], trajectories)
        for record in (*nodes, *trajectories):
            leaf = record.leaf if isinstance(record, Trajectory) else record.node_id
            record.mode, record.model = mode, self.info.model if leaf in labelled else model
        joined = grown.joined and not pieces and stored is None
        for trajectory in trajectories:
            read = trajectory.response or grown.responses.get(trajectory.leaf)
            if not read:
                read = engine.decode(search.tree.response_ids(trajectory.leaf))
                joined = joined and not read
            trajectory.response = read
        joined = joined or settle_texts(nodes, trajectories, engine)
        tables.add(
            problem,
            nodes,
            trajectories,
            values,
            rules=rules,
            rollout=rollout,
            made_by=made_by,
            decided=decided,
            joined=joined,
        )
        if mode is not None and stored is None:
            endings = Counter(map(_ending, trajectories))
            told = sum(endings[one] for one in TOLD)
            if goes_on(self.config, mode, passed=endings[Ending.PASS], checked=told):
                tables.goes_on.append(given_id(problem.id, mode))
        return ledger.settle(search.ledger.snapshot(), search.tree, trajectories)

    def _add_unlabelled(self, search: StoredSearch) -> None:
        """Adds what is stored of a problem for which nothing grew, or whose labelling killed its worker."""
        if search.nodes:
            self._add_search(Grown(search.problem, search.prompt_ids, search.search(search.reads(self.engine))))
            return
        for row in search.trajectories:
            self._tables.add_stored(row)
