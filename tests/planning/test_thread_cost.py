"""What an engine process's thread takes a trajectory, and when it binds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from berry.pipeline.config.plan import Calibration, Workload
from berry.pipeline.config.sections.cluster import Cluster
from berry.pipeline.planning.advice import advise
from berry.pipeline.planning.capacity import Binding, plan
from berry.pipeline.report.plan_page import rows

COST = Calibration(vllm_token_us=40, vllm_request_us=1000, own_token_us=10, own_request_us=500)


def test_tokens_and_requests_are_added_up_as_by_hand(
    make_workload: Callable[..., Workload], make_cluster: Callable[..., Cluster]
) -> None:
    made = plan(make_workload(policy={"type": "best_of_n", "n": 8}), make_cluster(), None, COST)
    thread = made.thread
    assert thread.requests == 1  # a trajectory is one sample
    assert thread.vllm_s == pytest.approx(40e-6 * thread.tokens + 1e-3)
    assert thread.own_s == pytest.approx(10e-6 * thread.tokens + 0.5e-3)
    assert thread.tokens_per_s == pytest.approx(thread.tokens / (50e-6 * thread.tokens + 1.5e-3))
    assert f"{thread.tokens_per_s:,.0f} tokens/s at most" in dict(rows(made))["an engine process feeds"]


def test_a_tree_asks_for_more_requests_a_token(
    make_workload: Callable[..., Workload], make_cluster: Callable[..., Cluster]
) -> None:
    tree = make_workload(policy={"type": "fixed", "branching": [4, 4]}, step_tokens=16)
    chains = plan(make_workload(), make_cluster(), None, COST).thread
    grown = plan(tree, make_cluster(), None, COST).thread
    assert grown.requests / grown.tokens > 1.05 * chains.requests / chains.tokens
    assert grown.tokens_per_s < chains.tokens_per_s


def test_a_slow_thread_binds_a_fast_engine(
    make_workload: Callable[..., Workload], make_cluster: Callable[..., Cluster]
) -> None:
    slow = COST.model_copy(update={"own_token_us": 500.0})
    made = plan(make_workload(verifiers=[{"name": "math", "mean_ms": 2}]), make_cluster(), None, slow)
    assert made.binding is Binding.THREADS
    assert made.tokens_per_s / made.placement.rollout.actors == pytest.approx(made.thread.tokens_per_s, rel=0.02)
    (advised, *_) = advise(made, None)
    assert advised.key == "cluster.roles.rollout.gpus=0.5"
    assert advised.gain > 1.5


def test_an_engine_of_a_set_pace_has_its_calibrated_whole(
    make_workload: Callable[..., Workload], make_cluster: Callable[..., Cluster]
) -> None:
    paced: dict[str, Any] = {"model": None, "paced": {"tokens_per_s": 100}}
    thread = plan(make_workload(**paced), make_cluster(), None, Calibration(orchestration_ms=2)).thread
    assert (thread.vllm_s, thread.own_s, thread.measured) == (0, 0.002, False)


def test_a_cost_that_was_not_measured_is_told_so(
    make_workload: Callable[..., Workload], make_cluster: Callable[..., Cluster]
) -> None:
    made = plan(make_workload(), make_cluster(), None, Calibration(vllm_token_us=None))
    assert made.thread.trajectory_s == Calibration().orchestration_ms / 1e3
    assert "by orchestration_ms" in dict(rows(made))["an engine process feeds"]
