"""Keep responses of a wanted form: every `must_match` is found, no `must_not_match` is. Drops as `format`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from berry.pipeline.config.pruning import FormatRule
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class ByFormat:
    def __init__(self, config: FormatRule) -> None:
        self.wanted = [re.compile(pattern) for pattern in config.must_match]
        self.unwanted = [re.compile(pattern) for pattern in config.must_not_match]

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        return {t.trajectory_id: DropReason.FORMAT for t in alive if not self._fits(t.response)}

    def _fits(self, response: str) -> bool:
        wanted = all(pattern.search(response) for pattern in self.wanted)
        return wanted and not any(pattern.search(response) for pattern in self.unwanted)
