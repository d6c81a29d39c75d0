"""Exports readings through Ray's metrics, where Prometheus collects them; `metrics` has their table.

Exporter(tags).put(readings) ─► gauges set, counters raised by what is new, histograms observed
start(exporter, read) ─► a task that puts what `read` gives, every few seconds
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from berry.pipeline.runtime.monitoring.metrics import METRICS, MetricReading

EXPORT_S = 5.0
LEASE_BOUNDARIES_S = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]


class Exporter:
    """Exports the metrics of one process. `tags` are added to every reading whose metric has them."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        self.tags = dict(tags)
        self._made: dict[str, Any] = {}
        self._last: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def put(self, readings: Iterable[MetricReading]) -> None:
        """Sets gauges, raises counters by what is new since the last reading, observes histograms."""
        for reading in readings:
            metric = METRICS[reading.name]
            given = {**self.tags, **(reading.tags or {})}
            tags = {key: given.get(key, "") for key in metric.tags}
            made = self._made.get(reading.name)
            if made is None:
                made = self._made[reading.name] = _make(reading.name)
            if metric.kind == "gauge":
                made.set(reading.value, tags=tags)
            elif metric.kind == "histogram":
                made.observe(reading.value, tags=tags)
            else:
                key = (reading.name, tuple(sorted((reading.tags or {}).items())))
                before = self._last.get(key, 0.0)
                self._last[key] = reading.value
                new = reading.value - before if reading.value >= before else reading.value  # its source began anew
                if new > 0:
                    made.inc(new, tags=tags)


def _make(name: str) -> Any:
    from ray.util import metrics

    metric = METRICS[name]
    if metric.kind == "histogram":
        return metrics.Histogram(name, metric.description, boundaries=LEASE_BOUNDARIES_S, tag_keys=metric.tags)
    kind = metrics.Gauge if metric.kind == "gauge" else metrics.Counter
    return kind(name, metric.description, tag_keys=metric.tags)


def start(exporter: Exporter, read: Callable[[], Iterable[MetricReading]]) -> asyncio.Task[None]:
    """Exports every `EXPORT_S` for as long as the process lives; the caller keeps the task."""

    async def work() -> None:
        while True:
            exporter.put(read())
            await asyncio.sleep(EXPORT_S)

    return asyncio.create_task(work())
