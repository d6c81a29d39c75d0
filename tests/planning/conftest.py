"""Workloads and clusters that the planning tests vary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.plan import Calibration, PlanConfig, Workload
from berry.pipeline.config.reading.loading import load, validate
from berry.pipeline.config.sections.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make_workload() -> Callable[..., Workload]:
    def make(**changes: Any) -> Workload:
        raw: dict[str, Any] = {
            "problems": 1000,
            "model": "llama-3.1-8b",
            "prompt_tokens": 200,
            "output_tokens": 1500,
            "verifiers": [{"name": "code", "mean_ms": 200, "p99_ms": 2000}],
        }
        return validate({**raw, **changes}, Workload, where="workload")

    return make


@pytest.fixture
def make_cluster() -> Callable[..., Cluster]:
    def make(**changes: Any) -> Cluster:
        node = {"count": 2, "gpus": 8, "cpu_sockets": 2, "cores": 112, "accelerator": "h100"}
        raw: dict[str, Any] = {
            "name": "test",
            "nodes": {"gpu": {**node, **changes.pop("node", {})}},
            "roles": {
                "rollout": {"gpus": 1, "cpus": 3, **changes.pop("rollout", {})},
                "reward": changes.pop("reward", {}),
                "sandbox": {"cpus": 8, "slots": 8, **changes.pop("sandbox", {})},
            },
        }
        raw["nodes"] |= changes.pop("nodes", {})
        return validate({**raw, **changes}, Cluster, where="cluster")

    return make


@pytest.fixture
def shipped_plan() -> Callable[[str], PlanConfig]:
    return lambda name: load(ROOT / "configs" / "plans" / f"{name}.yaml", [], PlanConfig)


@pytest.fixture
def peak() -> Calibration:
    """Hardware as good as its sheet."""
    return Calibration(compute_efficiency=1, memory_efficiency=1, step_overhead_ms=0, memory_share=1)
