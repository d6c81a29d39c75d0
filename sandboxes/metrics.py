"""Counts a pool's outcomes, waits, service times and restarts."""

from __future__ import annotations

import math
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

BUCKETS_PER_DOUBLING = 8
"""Buckets of service times for each doubling: within 5%."""


@dataclass(slots=True)
class SlotUse:
    """What one caller's jobs took of a pool: seconds of waiting for a slot, of holding it, and of CPU in it. Beside the
    pool `own_s`: CPU seconds of the caller's own thread, and of a worker that answered it; `waited_s`: seconds in which
    it waited for anything but such a worker."""

    jobs: int = 0
    queue_s: float = 0.0
    service_s: float = 0.0
    cpu_s: float = 0.0
    own_s: float = 0.0
    waited_s: float = 0.0


SLOT_USE: ContextVar[SlotUse | None] = ContextVar("slot_use", default=None)
"""Where the jobs of the task that set it are counted too, so that a caller knows which of a pool's time was its own."""


class Metrics:
    """Plain counters; one pool, one event loop, no locks."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.jobs = 0
        self.queue_s = 0.0
        self.service_s = 0.0
        self.service_s2 = 0.0
        self.service_counts: Counter[int] = Counter()
        self.cpu_s = 0.0
        self.running = 0
        self.retries = 0
        self.slots_started = 0
        self.slots_recycled = 0
        self.slots_failed = 0
        self.templates_started = 0
        self.templates_failed = 0

    def served(self, queue_s: float, service_s: float) -> None:
        """Counts a job that waited for its slot and then held it."""
        self.jobs += 1
        self.queue_s += queue_s
        self.service_s += service_s
        self.service_s2 += service_s**2
        self.service_counts[round(BUCKETS_PER_DOUBLING * math.log2(max(service_s, 1e-6)))] += 1
        if (use := SLOT_USE.get()) is not None:
            use.jobs += 1
            use.queue_s += queue_s
            use.service_s += service_s

    def computed(self, cpu_s: float) -> None:
        """Counts the CPU time of a job that has ended."""
        self.cpu_s += cpu_s
        if (use := SLOT_USE.get()) is not None:
            use.cpu_s += cpu_s

    def snapshot(self, *, waiting: int, slots: int) -> dict[str, Any]:
        """Returns all counters as plain data. Times in seconds, summed over jobs, `service_s2` their squares;
        `service_counts` has the jobs whose service took about 2^(key / BUCKETS_PER_DOUBLING) s; `waiting` and `running`
        are of now."""
        return {
            "slots": slots, "waiting": waiting, "running": self.running, "jobs": self.jobs,
            "outcomes": {str(k): v for k, v in self.outcomes.items()}, "queue_s": self.queue_s,
            "service_s": self.service_s, "service_s2": self.service_s2,
            "service_counts": dict(self.service_counts), "cpu_s": self.cpu_s, "retries": self.retries,
            "slots_started": self.slots_started, "slots_recycled": self.slots_recycled,
            "slots_failed": self.slots_failed, "templates_started": self.templates_started,
            "templates_failed": self.templates_failed,
        }  # fmt: skip
