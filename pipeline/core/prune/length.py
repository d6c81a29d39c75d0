"""Keep responses of a wanted length in tokens, absolute or relative. Drops as `length`.

    min_tokens <= n <= max_tokens        min_ratio <= n / median(n of the problem's correct responses) <= max_ratio

Degenerate case: without a correct response there is nothing to be relative to, and only the absolute limits act.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from berry.pipeline.config.pruning import LengthRule
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class ByLength:
    def __init__(self, config: LengthRule) -> None:
        self.config = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        config = self.config
        correct = [t.n_tokens for t in pool.everyone if t.verdict is not None and t.verdict.passed]
        usual = median(correct) if correct else None
        least = max(config.min_tokens or 0, (config.min_ratio or 0.0) * usual if usual else 0.0)
        most = min(
            config.max_tokens if config.max_tokens is not None else float("inf"),
            config.max_ratio * usual if config.max_ratio is not None and usual else float("inf"),
        )
        return {t.trajectory_id: DropReason.LENGTH for t in alive if not least <= t.n_tokens <= most}
