"""The dashboard asks for metrics that are exported, by tags that they have; and Ray exports them under those names."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from berry.pipeline.runtime.monitoring.metrics import METRICS, MetricReading

BOARD = json.loads((Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "berry.json").read_text())
SUFFIXES = {"gauge": ("",), "counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
WIRE = {f"ray_{name}{suffix}": name for name, metric in METRICS.items() for suffix in SUFFIXES[metric.kind]}


def queries() -> Iterator[tuple[str, str]]:
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def names(expression: str) -> set[str]:
    return set(re.findall(r"ray_\w+", expression))


@pytest.mark.parametrize(("title", "expression"), list(queries()), ids=lambda v: v[:40])
def test_a_query_names_exported_metrics_and_their_tags(title: str, expression: str) -> None:
    assert names(expression)
    for name in names(expression):
        assert name in WIRE, f"{title}: {name} is not exported"
    for name, selector in re.findall(r"(ray_\w+)\{([^}]*)\}", expression):
        for tag in re.findall(r"(\w+)\s*(?:=~|=|!=)", selector):
            assert tag in METRICS[WIRE[name]].tags, f"{title}: {name} has no tag {tag}"
    for by in re.findall(r"by \(([^)]*)\)", expression):
        for tag in by.split(","):
            tags = {t for name in names(expression) for t in METRICS[WIRE[name]].tags}
            assert tag.strip() in tags | {"le"}, f"{title}: by ({tag})"
    assert expression.count("(") == expression.count(")")


def test_every_pool_is_on_the_board_and_panels_do_not_overlap() -> None:
    drawn = {WIRE[name] for _, expression in queries() for name in names(expression)}
    for pool in ("berry_engine_", "berry_verdicts", "berry_sandbox_", "berry_reward_", "berry_run_", "berry_lease_"):
        assert any(name.startswith(pool) for name in drawn), pool
    cells: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in cells, panel["title"]
                cells.add((x, y))
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


@pytest.mark.slow
@pytest.mark.cluster
def test_ray_exports_every_metric_of_the_table_under_the_boards_names() -> None:
    import ray

    from berry.pipeline.runtime.monitoring.prometheus import Exporter

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
        _metrics_export_port=port,
    )
    try:
        exporter = Exporter(
            {"run": "r", "worker": "w", "version": "v0", "outcome": "pass", "reason": "x", "model": "m"}
        )
        deadline = time.monotonic() + 90
        total = 0.0
        missing = set(WIRE)
        while missing:
            assert time.monotonic() < deadline, f"not exported: {sorted(missing)}"
            total += 1
            exporter.put(MetricReading(name, total) for name in METRICS)
            time.sleep(1)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    missing -= set(re.findall(r"^(ray_berry_\w+)\{", answer.read().decode(), re.MULTILINE))
            except OSError:
                continue
    finally:
        ray.shutdown()
