"""Keep one of each group of near-duplicates within a problem, found by MinHash (Broder 1997). Drops as `duplicate`.

    J(A, B) = |A ∩ B| / |A ∪ B| over word shingles, >= threshold: duplicates

`prefer` decides which one leads its group. Degenerate case: threshold = 1 drops texts with equal shingles alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from berry.pipeline.config.pruning import NearDuplicateRule
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.core.prune.similarity import leaders
from berry.pipeline.records import DropReason, Trajectory


class NearDuplicates:
    def __init__(self, config: NearDuplicateRule) -> None:
        self.config = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        config = self.config
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
