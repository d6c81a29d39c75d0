"""Finished searches -> pruned, labelled rows for a lease's three Parquet files.

Grown ─► Search.nodes, Search.trajectories ─► core.prune ─► {"nodes": …, "kept": …, "trajectories": …}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.config.pruning import PruneRule
from pipeline.config.rollout import Rollout
from pipeline.core import ledger
from pipeline.core.prune import prune
from pipeline.engines.base import Engine
from pipeline.records import DropReason, Finish, Node, Problem, TokenLedger, Trajectory
from pipeline.stages.ports import Grown
from pipeline.stages.rows import Columns, add_kept, add_nodes, add_row, add_trajectories, empty
from pipeline.storage.shards import evidence_json
from verifiers.base import Outcome

_UNVERIFIABLE = Outcome.UNVERIFIABLE


@dataclass(slots=True)
class Tables:
    """The columns of one lease's files, and what they add up to."""

    nodes: Columns = field(default_factory=partial(empty, "nodes"))
    kept: Columns = field(default_factory=partial(empty, "kept"))
    trajectories: Columns = field(default_factory=partial(empty, "trajectories"))
    drops: dict[str, int] = field(default_factory=dict)
    ledger: TokenLedger = field(default_factory=TokenLedger)
    solved: int = 0  # problems with at least one passing trajectory

    seen: set[bytes] = field(default_factory=set)  # responses kept so far, for duplicates across problems

    def add(
        self,
        problem: Problem,
        nodes: Sequence[Node],
        trajectories: Sequence[Trajectory],
        *,
        rules: Sequence[PruneRule],
        rollout: Rollout,
        made_by: Mapping[str, Any],
    ) -> None:
        """Prunes one problem's trajectories, in place, and adds its rows. The root among `nodes` holds the prompt."""
        by_id = {node.node_id: node for node in nodes}
        for trajectory, decision in zip(trajectories, prune(trajectories, rules, seen=self.seen), strict=True):
            trajectory.kept = decision.keep
            trajectory.drop_reason = decision.reason
            if decision.reason is not None:
                self.drops[decision.reason] = self.drops.get(decision.reason, 0) + 1
        add_nodes(self.nodes, nodes)
        add_trajectories(self.trajectories, trajectories)
        self.solved += any(t.verdict is not None and t.verdict.passed for t in trajectories)
        prompt_ids = next((node.token_ids for node in nodes if node.parent_id is None), ())
        kept = [(t, _without_root([by_id[n] for n in t.path])) for t in trajectories if t.kept]
        add_kept(self.kept, problem, kept, prompt_ids=prompt_ids, rollout=rollout, made_by=made_by)

    def refuse(self, problem: Problem, reason: DropReason, detail: str) -> None:
        """A problem without a tree, on record all the same."""
        add_row(
            self.trajectories,
            {
                "trajectory_id": f"{problem.id}/-",
                "problem_id": problem.id,
                "leaf": "",
                "path": [],
                "evidence": evidence_json({"detail": detail}),
                "n_tokens": 0,
                "n_new_tokens": 0,
                "finish": Finish.CANCELLED.value,
                "kept": False,
                "drop_reason": reason.value,
            },
        )
        self.drops[reason] = self.drops.get(reason, 0) + 1

    @property
    def n_trajectories(self) -> int:
        return len(self.trajectories["trajectory_id"])

    @property
    def n_kept(self) -> int:
        return len(self.kept["trajectory_id"])

    def unchecked(self) -> Iterator[tuple[str, str, str]]:
        """(problem, trajectory, reason) of each trajectory that could not be checked."""
        columns = self.trajectories
        for row in [row for row, verdict in enumerate(columns["verdict"]) if verdict is _UNVERIFIABLE]:
            yield columns["problem_id"][row], columns["trajectory_id"][row], columns["verdict_reason"][row]

    def by_name(self) -> dict[str, Columns]:
        return {"nodes": self.nodes, "kept": self.kept, "trajectories": self.trajectories}


def assemble(grown: Sequence[Grown], engine: Engine, *, rules: Sequence[PruneRule], rollout: Rollout) -> Tables:
    """Rows of a lease in problem order, whatever order the searches ended in."""
    tables = Tables()
    spent = [_add_search(tables, one, engine, rules=rules, rollout=rollout) for one in grown]
    tables.ledger = ledger.add(spent)
    return tables


def _add_search(
    tables: Tables, grown: Grown, engine: Engine, *, rules: Sequence[PruneRule], rollout: Rollout
) -> TokenLedger:
    """What it has spent."""
    search = grown.search
    nodes = search.nodes()
    by_id = {node.node_id: node for node in nodes}
    _fill_text(nodes, by_id, engine)
    trajectories = search.trajectories()
    for trajectory in trajectories:
        trajectory.response = grown.responses.get(trajectory.leaf) or engine.decode(
            search.tree.response_ids(trajectory.leaf)
        )
    info = engine.info
    made_by = {"model": info.model, "synthetic": info.synthetic}
    tables.add(grown.problem, nodes, trajectories, rules=rules, rollout=rollout, made_by=made_by)
    return ledger.settle(search.ledger.snapshot(), search.tree, trajectories)


def _without_root(path: list[Node]) -> list[Node]:
    return path[1:] if path[0].parent_id is None else path


def _fill_text(nodes: Sequence[Node], by_id: dict[str, Node], engine: Engine) -> None:
    """Nodes made by splitting a segment have no text of their own yet: decode them in their context, so that the
    texts along a path join to the whole response whatever the tokenizer does at the seams."""
    for node in nodes:
        if node.text or not node.token_ids:
            continue
        before: list[int] = []
        parent = by_id.get(node.parent_id or "")
        while parent is not None:
            before[:0] = parent.token_ids
            parent = by_id.get(parent.parent_id or "")
        head = engine.decode(before) if before else ""
        node.text = engine.decode([*before, *node.token_ids])[len(head) :]
