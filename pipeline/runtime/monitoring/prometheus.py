"""Readings into Ray's metrics, from where Prometheus takes them (`stages.exported` has the table).

Exporter(tags) ─► put(readings): gauges set, counters raised by what is new, histograms observed
begin(exporter, read) ─► a task that puts what `read` gives, every few seconds
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from berry.pipeline.runtime.monitoring.metrics import METRICS, Reading

EVERY_S = 5.0
BOUNDARIES_S = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]


class Exporter:
    """One process's metrics. `tags` hold for every reading whose metric knows them."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        self.tags = dict(tags)
        self._made: dict[str, Any] = {}
        self._last: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def put(self, readings: Iterable[Reading]) -> None:
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
        return metrics.Histogram(name, metric.description, boundaries=BOUNDARIES_S, tag_keys=metric.tags)
    kind = metrics.Gauge if metric.kind == "gauge" else metrics.Counter
    return kind(name, metric.description, tag_keys=metric.tags)


def begin(exporter: Exporter, read: Callable[[], Iterable[Reading]]) -> asyncio.Task[None]:
    """For as long as the process lives; whoever starts it keeps the task."""

    async def work() -> None:
        while True:
            exporter.put(read())
            await asyncio.sleep(EVERY_S)

    return asyncio.create_task(work())
