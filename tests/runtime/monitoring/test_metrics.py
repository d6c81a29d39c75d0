"""Readings of each pool's figures, and what the exporter makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.engines.base import Counters
from berry.pipeline.records import TokenLedger
from berry.pipeline.runtime.monitoring import metrics, prometheus
from berry.pipeline.runtime.monitoring.metrics import METRICS, MetricReading
from berry.pipeline.stages.leases.lease import Gauges, LeaseReport, Snapshot

REPORT = LeaseReport(
    lease=3,
    worker="w",
    problems=4,
    solved=2,
    trajectories=24,
    kept=5,
    drops={"wrong": 18, "duplicate": 1},
    ledger=TokenLedger(),
    wall_s=2.5,
)


def test_readings_are_of_the_table_with_its_tags() -> None:
    readings = [
        *metrics.of_snapshot(
            Snapshot("w", Gauges(verified=9, passed=4, unanswered=1, unverifiable=2), Counters(running=3), 8)
        ),
        *metrics.of_report(REPORT, None)[0],
        *metrics.of_sandboxes(
            {"pool_slots": 2.0, "outcome_pass": 4.0, "reason_equal": 4.0, "check_s": 1.5, "call_jobs": 6.0}
        ),
        *metrics.of_rewards({"prm": {"requests": 5, "waiting": 1, "computed_tokens": 10, "naive_tokens": 30}}),
    ]
    for reading in readings:
        assert set(reading.tags or {}) <= set(METRICS[reading.name].tags)
    values = {(r.name, *(r.tags or {}).values()): r.value for r in readings}
    assert values["berry_verdicts", "wrong"] == 2
    assert values["berry_verdicts", "no_answer"] == 1
    assert values["berry_checks", "pass"] == 4
    assert values["berry_tool_calls",] == 6
    assert values["berry_reward_requests", "prm"] == 5
    assert values["berry_engine_running",] == 3


def test_reports_add_up() -> None:
    _, first = metrics.of_report(REPORT, None)
    readings, _ = metrics.of_report(REPORT, first)
    values = {(r.name, *(r.tags or {}).values()): r.value for r in readings}
    assert values["berry_leases",] == 2
    assert values["berry_kept",] == 10
    assert values["berry_dropped", "wrong"] == 36
    assert values["berry_lease_seconds",] == 2.5


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, float, dict[str, str]]] = []

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.calls.append(("inc", value, tags))

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.calls.append(("set", value, tags))


def test_counters_are_raised_by_what_is_new_also_after_their_source_began_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(prometheus, "_make", lambda name: made.setdefault(name, Recorder()))
    exporter = prometheus.Exporter({"run": "r", "worker": "w"})
    for total in (5, 5, 8, 2):
        exporter.put(
            [MetricReading("berry_verdicts", total, {"outcome": "pass"}), MetricReading("berry_searches", total)]
        )
    raised = made["berry_verdicts"].calls
    assert [value for _, value, _ in raised] == [5, 3, 2]
    assert raised[0][2] == {"run": "r", "engine": "", "model": "", "worker": "w", "version": "", "outcome": "pass"}
    assert [value for _, value, _ in made["berry_searches"].calls] == [5, 5, 8, 2]
