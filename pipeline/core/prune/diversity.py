"""Keeps at most `per_cluster` of each cluster of similar responses, and at most `per_problem` of the problem.

Over a cluster's quota drops as `not_diverse`, over the problem's as `over_quota`. For the latter clusters take turns,
so that what is kept is as varied as it can be. Clusters are led by their first response (similarity.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.core.prune.similarity import leaders
from berry.pipeline.records import DropReason, Trajectory


class DiversityRule(RuleConfig):
    """Keep at most so many trajectories of each kind, and of each problem."""

    type: Literal["diversity"] = "diversity"
    per_cluster: int = Field(default=1, ge=1)
    """Trajectories of one cluster of similar responses."""
    threshold: float = Field(default=0.5, gt=0, le=1)
    """Jaccard similarity of word shingles that joins a cluster."""
    shingle_words: int = Field(default=2, ge=1)
    """Words a shingle."""
    per_problem: int | None = Field(default=None, ge=1)
    """Trajectories of one problem; clusters take turns."""
    permutations: int = Field(default=128, ge=16)
    """Of the MinHash that finds candidates; they are compared exactly afterwards."""


class ByDiversity:
    """Keeps the trajectories that differ most."""

    config: ClassVar = DiversityRule

    def __init__(self, config: DiversityRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Drops what is over the quota of its cluster, then of the problem; clusters take turns."""
        config = self.rule
        clusters: dict[int, list[Trajectory]] = {}
        found = leaders(
            [t.response for t in alive],
            threshold=config.threshold,
            words=config.shingle_words,
            permutations=config.permutations,
        )
        for trajectory, leader in zip(alive, found, strict=True):
            clusters.setdefault(leader, []).append(trajectory)
        dropped: dict[str, DropReason] = {}
        turns: list[tuple[int, int, Trajectory]] = []
        for leader, members in clusters.items():
            turns.extend((turn, leader, t) for turn, t in enumerate(members[: config.per_cluster]))
            dropped.update((t.trajectory_id, DropReason.NOT_DIVERSE) for t in members[config.per_cluster :])
        if config.per_problem is not None:
            turns.sort(key=lambda entry: entry[:2])
            dropped.update((t.trajectory_id, DropReason.OVER_QUOTA) for _, _, t in turns[config.per_problem :])
        return dropped
