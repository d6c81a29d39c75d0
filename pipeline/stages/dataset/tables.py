"""Collects the rows of one lease, problem by problem, as the columns of its three files.

nodes and trajectories of a problem ─► prune ─► Tables ─► {"nodes": …, "kept": …, "trajectories": …}
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from berry.pipeline.config.sections.rollout.pruning import PruneRule
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.labels import LABELS, only
from berry.pipeline.core.prune import Decision, prune
from berry.pipeline.core.prune.base import Digests
from berry.pipeline.core.values.estimate import UNKNOWN, Values
from berry.pipeline.records import DropReason, Finish, Node, Problem, TokenLedger, Trajectory
from berry.pipeline.stages.dataset.rows import (
    ColumnLists,
    add_kept,
    add_nodes,
    add_row,
    add_trajectories,
    empty,
    label_columns,
)
from berry.pipeline.stages.dataset.steps import StepLabels
from berry.pipeline.stages.leases.lease import add_modes
from berry.pipeline.storage.parquet.shards import evidence_json
from berry.verifiers.base import Outcome

Seen = defaultdict[str | None, Digests]
"""Responses kept so far, for duplicates across problems, by mode: the same answer to another prompt is no duplicate."""
_UNVERIFIABLE = Outcome.UNVERIFIABLE


@dataclass(slots=True)
class Tables:
    """The columns of one lease's files, and what they add up to."""

    nodes: ColumnLists = field(default_factory=partial(empty, "nodes"))
    kept: ColumnLists = field(default_factory=partial(empty, "kept"))
    labels: StepLabels = field(default_factory=StepLabels)  # of the kept ones' steps
    trajectories: ColumnLists = field(default_factory=partial(empty, "trajectories"))
    drops: dict[str, int] = field(default_factory=dict)
    ledger: TokenLedger = field(default_factory=TokenLedger)
    solved: int = 0  # problems with at least one passing trajectory
    modes: dict[str, dict[str, int]] = field(default_factory=dict)  # as in `LeaseReport.modes`, but tokens
    goes_on: list[str] = field(default_factory=list)  # as in `LeaseReport.goes_on`

    seen: Seen = field(default_factory=partial(defaultdict, set[bytes]))

    def add(
        self,
        problem: Problem,
        nodes: Sequence[Node],
        trajectories: Sequence[Trajectory],
        values: Values,
        *,
        rules: Sequence[PruneRule],
        rollout: Rollout,
        made_by: Mapping[str, Any],
        decided: Sequence[Decision] | None = None,
        joined: bool = False,
    ) -> None:
        """Prunes one problem's trajectories, in place, and adds its rows. The root among `nodes` holds the prompt;
        `values` are those of its tree. `decided`: what was decided of each trajectory before; the rules are not asked
        then. `joined`: every response is known to be the texts of its nodes."""
        by_id = {node.node_id: node for node in nodes}
        numbers = {node_id: number for number, node_id in enumerate(by_id)}
        decisions = decided
        if decisions is None:
            value = only(values[nodes[0].node_id], LABELS) if nodes else UNKNOWN
            mode = trajectories[0].mode if trajectories else None
            decisions = prune(trajectories, rules, seen=self.seen[mode], value=value)
        for trajectory, decision in zip(trajectories, decisions, strict=True):
            trajectory.kept = decision.keep
            trajectory.drop_reason = decision.reason
            if decision.reason is not None:
                self.drops[decision.reason] = self.drops.get(decision.reason, 0) + 1
        add_nodes(self.nodes, nodes, numbers)
        responses = [None] * len(trajectories) if joined else _other_texts(trajectories, by_id)
        add_trajectories(self.trajectories, problem, trajectories, numbers, responses)
        own = [t for t in trajectories if t.drop_reason is not DropReason.ANNOTATION]
        solved = any(t.verdict is not None and t.verdict.passed for t in own)
        self.solved += solved
        if trajectories and (mode := trajectories[0].mode) is not None:
            kept_here = sum(t.kept for t in own)
            counts = {"problems": 1, "solved": int(solved), "trajectories": len(own), "kept": kept_here}
            add_modes(self.modes, {mode: counts})
        root = next((node for node in nodes if node.parent_id is None), None)
        kept = [(t, _without_root([by_id[n] for n in t.path])) for t in trajectories if t.kept]
        add_kept(
            self.kept,
            problem,
            kept,
            numbers,
            root=root,
            values=values,
            labels=self.labels,
            rollout=rollout,
            made_by=made_by,
        )

    def refuse(self, problem: Problem, reason: DropReason, detail: str, *, mode: str | None = None) -> None:
        """Adds the row of a problem without a tree, so that it is on record all the same."""
        add_row(
            self.trajectories,
            {
                "trajectory_id": f"{problem.id}/-",
                "problem_id": problem.id,
                "variant_of": problem.variant_of,
                "evidence": evidence_json({"detail": detail}),
                "n_tokens": 0,
                "n_new_tokens": 0,
                "finish": Finish.CANCELLED.value,
                "kept": False,
                "drop_reason": reason.value,
                "mode": mode,
            },
        )
        self.drops[reason] = self.drops.get(reason, 0) + 1

    def add_stored(self, row: Mapping[str, Any]) -> None:
        """Adds a dropped trajectory without a tree as it is stored."""
        add_row(self.trajectories, {**row, "leaf": None})
        self.drops[row["drop_reason"]] = self.drops.get(row["drop_reason"], 0) + 1

    @property
    def n_trajectories(self) -> int:
        """Trajectories in all, dropped ones too."""
        return len(self.trajectories["trajectory_id"])

    @property
    def n_kept(self) -> int:
        """Trajectories that were kept."""
        return len(self.kept["trajectory_id"])

    def unchecked(self) -> Iterator[tuple[str, str, str]]:
        """(problem, trajectory, reason) of each trajectory that could not be checked."""
        columns = self.trajectories
        for row in [row for row, verdict in enumerate(columns["verdict"]) if verdict is _UNVERIFIABLE]:
            yield columns["problem_id"][row], columns["trajectory_id"][row], columns["verdict_reason"][row]

    def by_name(self) -> dict[str, ColumnLists]:
        """The columns of each of a lease's three files, by its folder's name."""
        kept = {**self.kept, **label_columns(self.labels)}
        return {"nodes": self.nodes, "kept": kept, "trajectories": self.trajectories}


def _other_texts(trajectories: Sequence[Trajectory], nodes: Mapping[str, Node]) -> list[str | None]:
    """Of each trajectory, None where its response is the text of its nodes, as nearly always."""
    joined = ["".join([nodes[at].text for at in t.path]) for t in trajectories]
    return [None if t.response == text else t.response for t, text in zip(trajectories, joined, strict=True)]


def _without_root(path: list[Node]) -> list[Node]:
    return path[1:] if path[0].parent_id is None else path
