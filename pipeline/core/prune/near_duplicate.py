"""Keeps one of each group of near-duplicates within a problem, found by MinHash (Broder 1997). Drops as `duplicate`.

    J(A, B) = |A ∩ B| / |A ∪ B| over word shingles, >= threshold: duplicates

`prefer` decides which one leads its group. Degenerate case: threshold = 1 drops texts with equal shingles alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.core.prune.similarity import leaders
from berry.pipeline.records import DropReason, Trajectory


class NearDuplicateRule(RuleConfig):
    """Keep one of each group of near-duplicates within a problem."""

    type: Literal["near_duplicate"] = "near_duplicate"
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity of the word shingles from which two responses are duplicates."""
    shingle_words: int = Field(default=3, ge=1)
    """Words a shingle."""
    prefer: Literal["first", "shortest", "orm"] = "first"
    """Which one of a group is kept."""
    permutations: int = Field(default=128, ge=16)
    """Of the MinHash that finds candidates; they are compared exactly afterwards."""


class NearDuplicates:
    """Drops responses that are almost like one that stays."""

    config: ClassVar = NearDuplicateRule

    def __init__(self, config: NearDuplicateRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Drops each response that is too like one preferred to it: the earlier, the shorter or the better scored."""
        config = self.rule
        ordered = list(alive)
        if config.prefer == "shortest":
            ordered.sort(key=lambda t: t.n_tokens)
        elif config.prefer == "orm":
            ordered.sort(key=lambda t: -(t.orm if t.orm is not None else float("-inf")))
        found = leaders(
            [t.response for t in ordered],
            threshold=config.threshold,
            words=config.shingle_words,
            permutations=config.permutations,
        )
        return {t.trajectory_id: DropReason.DUPLICATE for i, t in enumerate(ordered) if found[i] != i}
