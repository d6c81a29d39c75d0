"""Computes what engines and sandboxes waited for in one window of the autoscaler. Pure arithmetic on snapshots. Tool
calls and checks have as many slots each: the kind that takes more of them says how many are busy.

snapshots, checkers' counters, a few times a window ─► WaitWindow.add ─► WaitWindow.waits ─► core.balance
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from berry.pipeline.core.balance import Waits
from berry.pipeline.stages.leases.lease import Snapshot


@dataclass(slots=True)
class WaitWindow:
    """The samples of one window. Gauges are averaged over them; of counters the last less the first counts."""

    _integral: dict[str, list[tuple[float, float, int]]] = field(default_factory=dict)  # worker: (at, area, sequences)
    _busy: list[float] = field(default_factory=list)
    _line: list[float] = field(default_factory=list)
    _slots: list[float] = field(default_factory=list)
    _jobs: list[tuple[float, float]] = field(default_factory=list)  # (ended, their waits in s)

    def add(self, now: float, snapshots: Sequence[Snapshot], checks: Sequence[Mapping[str, float]]) -> None:
        """`checks` empty: nothing is known of the sandboxes at this moment."""
        for s in snapshots:
            area = now, s.counters.running_integral, s.max_num_seqs
            self._integral.setdefault(s.worker, []).append(area)
        if not checks:
            return
        sums = {name: sum(c.get(name, 0.0) for c in checks) for name in _NAMES}
        checking = sums["pool_running"] + sums["symbolic_running"]
        self._busy.append(max(checking, sums["call_running"]))  # each has as many slots of its own
        self._line.append(sums["pool_waiting"] + sums["symbolic_waiting"] + sums["call_waiting"])
        self._slots.append(sums["pool_slots"])
        ended = sums["pool_jobs"] + sums["symbolic_asked"] + sums["call_jobs"]
        self._jobs.append((ended, sums["pool_queue_s"] + sums["call_queue_s"]))

    def waits(self) -> Waits | None:
        """None when too little was seen: workers or sandboxes were down."""
        capacity = used = 0.0
        sequences = 0
        for samples in self._integral.values():
            (from_s, start, _), (to_s, end, seqs) = samples[0], samples[-1]
            if len(samples) < 2 or end < start:  # just up, or restarted
                continue
            sequences += seqs
            capacity += (to_s - from_s) * seqs
            used += end - start
        if capacity <= 0 or not self._busy:
            return None
        ended = max(0.0, self._jobs[-1][0] - self._jobs[0][0])
        waited = max(0.0, self._jobs[-1][1] - self._jobs[0][1])
        return Waits(
            engines_idle=min(1.0, max(0.0, 1 - used / capacity)),
            sequences=sequences,
            open_slots=round(self._slots[-1]),
            busy=sum(self._busy) / len(self._busy),
            most_busy=math.ceil(max(self._busy)),
            in_line=sum(self._line) / len(self._line),
            checks=round(ended),
            line_ms=1e3 * waited / ended if ended else None,
        )


_NAMES = (
    "pool_running",
    "pool_waiting",
    "pool_slots",
    "pool_jobs",
    "pool_queue_s",
    "symbolic_running",
    "symbolic_waiting",
    "symbolic_asked",
    "call_running",
    "call_waiting",
    "call_jobs",
    "call_queue_s",
)
