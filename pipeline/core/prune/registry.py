"""Rule config ─► rule, and the order in which rules apply. A new rule is one file, one config class, one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.config.base import Section
from pipeline.config.pruning import PruneRule, VerdictRule
from pipeline.core.prune.base import Decision, Rule
from pipeline.core.prune.verdict import ByVerdict
from pipeline.records import DropReason, Trajectory

RULES: dict[type[Section], Callable[[Any], Rule]] = {VerdictRule: ByVerdict}


def prune(trajectories: Sequence[Trajectory], rules: Sequence[PruneRule]) -> list[Decision]:
    """One decision for each trajectory of *one problem*, in their order. Rules apply in the order given, each to what
    the ones before left; a trajectory keeps its first reason, and one that comes with a `drop_reason` (truncated, cut
    in the loop …) keeps that."""
    reasons: dict[str, DropReason] = {t.trajectory_id: t.drop_reason for t in trajectories if t.drop_reason}
    for config in rules:
        alive = [t for t in trajectories if t.trajectory_id not in reasons]
        reasons.update(RULES[type(config)](config).drops(alive, trajectories))
    return [Decision(t.trajectory_id not in reasons, reasons.get(t.trajectory_id)) for t in trajectories]
