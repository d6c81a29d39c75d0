"""Adds up counters of sources that may be started anew, and then count from zero again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class RunningTotals:
    """Sums of named counters over sources. A counter that falls has begun anew: what it had reached stays counted."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, int]] = {}
        self._total: Counter[str] = Counter()

    def begin(self, source: str, counts: Mapping[str, int]) -> None:
        """Leaves out what a source has counted so far."""
        self._last[source] = dict(counts)

    def add(self, source: str, counts: Mapping[str, int]) -> None:
        """Takes what a source has counted since it was started."""
        before = self._last.setdefault(source, {})
        for name, count in counts.items():
            seen = before.get(name, 0)
            self._total[name] += count - seen if count >= seen else count
            before[name] = count

    def total(self) -> dict[str, int]:
        """The sums, by name."""
        return dict(self._total)
