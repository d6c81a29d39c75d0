"""Rule config ─► rule, and the order in which rules apply. A new rule is one file, one config class, one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from berry.pipeline.config import pruning as config
from berry.pipeline.config.base import Section
from berry.pipeline.core.prune.base import Decision, Pool, Rule
from berry.pipeline.core.prune.difficulty import ByDifficulty
from berry.pipeline.core.prune.diversity import ByDiversity
from berry.pipeline.core.prune.exact_duplicate import ExactDuplicates
from berry.pipeline.core.prune.format import ByFormat
from berry.pipeline.core.prune.length import ByLength
from berry.pipeline.core.prune.near_duplicate import NearDuplicates
from berry.pipeline.core.prune.orm import ByOrm
from berry.pipeline.core.prune.prm import ByPrm
from berry.pipeline.core.prune.shortest import ShortestCorrect
from berry.pipeline.core.prune.verdict import ByVerdict
from berry.pipeline.records import DropReason, Trajectory

RULES: dict[type[Section], Callable[[Any], Rule]] = {
    config.VerdictRule: ByVerdict,
    config.FormatRule: ByFormat,
    config.LengthRule: ByLength,
    config.OrmRule: ByOrm,
    config.PrmRule: ByPrm,
    config.NearDuplicateRule: NearDuplicates,
    config.ExactDuplicateRule: ExactDuplicates,
    config.DiversityRule: ByDiversity,
    config.DifficultyRule: ByDifficulty,
    config.ShortestRule: ShortestCorrect,
}


def prune(
    trajectories: Sequence[Trajectory], rules: Sequence[config.PruneRule], *, seen: set[bytes] | None = None
) -> list[Decision]:
    """One decision for each trajectory of *one problem*, in their order. Rules apply in the order given, each to what
    the ones before left; a trajectory keeps its first reason, and one that comes with a `drop_reason` (truncated, cut
    in the loop …) keeps that.

    `seen` is what problems share for exact duplicates: give the same set to every problem pruned together, in a fixed
    order of problems.
    """
    pool = Pool(trajectories, set() if seen is None else seen)
    reasons: dict[str, DropReason] = {t.trajectory_id: t.drop_reason for t in trajectories if t.drop_reason}
    for rule in rules:
        alive = [t for t in trajectories if t.trajectory_id not in reasons]
        reasons.update(RULES[type(rule)](rule).drops(alive, pool))
    decided = {reason: Decision(reason is None, reason) for reason in {None, *reasons.values()}}
    return [decided[reasons.get(t.trajectory_id)] for t in trajectories]
