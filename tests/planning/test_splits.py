"""How an engine is split over GPUs and nodes: what it costs by hand, what is chosen, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from berry.pipeline.config.plan import Calibration
from berry.pipeline.config.sections.cluster import NodeType, RolloutRole
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning import splits
from berry.pipeline.planning.advice import advise
from berry.pipeline.planning.capacity import plan
from berry.pipeline.planning.formulas import roofline
from berry.pipeline.planning.formulas.roofline import EngineModel
from berry.pipeline.planning.models import model_sheet
from berry.pipeline.planning.sheets import accelerator
from berry.pipeline.report.plan_page import rows

NODE = NodeType(count=4, gpus=8, cores=112)
TWO_NODES = {"gpus": 16, "tensor_parallel": 8, "pipeline_parallel": 2, "nodes": 2, "cpus": 48}


def engine(devices: int, stages: int = 1, nodes: int = 1, model: str = "llama-3.1-405b") -> EngineModel:
    return EngineModel(
        model_sheet(model),
        accelerator("h100"),
        devices,
        "bf16",
        "bf16",
        Calibration(),
        stages=stages,
        nodes=nodes,
        network_gb_per_s=25.0,
    )


def test_stages_hand_on_activations_once_and_layers_over_nodes_twice_a_layer() -> None:
    staged, split = engine(16, 2, 2), engine(16, 1, 2)
    assert roofline.handing_on_s(staged, 100) == pytest.approx(30e-6 + 100 * 16384 * 2 / 25e9)
    assert roofline.handing_on_s(split, 100) == 0
    a_layer = 30e-6 + 100 * 16384 * 2 * 2 * 15 / 16 / (25e9 / 8)
    assert roofline.communication_s(split, 100) == pytest.approx(2 * 126 * a_layer)
    assert roofline.decode_step_s(split, 256, 1000) > 2 * roofline.decode_step_s(staged, 256, 1000)


def test_stages_hold_more_and_make_no_single_sequence_faster() -> None:
    one, two = engine(16), engine(32, 2)
    assert two.kv_budget_bytes > 2 * one.kv_budget_bytes
    assert roofline.decode_step_s(two, 1, 1000) > 0.99 * roofline.decode_step_s(one, 1, 1000)
    assert roofline.decode_step_s(two, 512, 1000) > roofline.decode_step_s(one, 256, 1000)  # weights once for each part


def test_the_first_split_that_holds_a_model_is_whole_nodes_and_layers_stay_on_them() -> None:
    chosen = splits.choose(engine(1), NODE, RolloutRole(gpus=1, cpus=3), max_num_seqs=256, resident=1500, context=900)
    assert chosen is not None
    assert (chosen.tensor_parallel, chosen.pipeline_parallel, chosen.nodes, chosen.cpus) == (8, 2, 2, 48)
    small = replace(engine(1), model=model_sheet("llama-3.1-8b"))
    alone = splits.choose(small, NODE, RolloutRole(gpus=1, cpus=3), max_num_seqs=64, resident=1500, context=900)
    assert alone is not None
    assert alone.parts == 1
    few = NODE.model_copy(update={"count": 1})
    assert splits.choose(engine(1), few, RolloutRole(gpus=1), max_num_seqs=256, resident=1500, context=900) is None


def test_every_split_keeps_a_stage_on_a_node_and_fits_the_nodes() -> None:
    found = list(splits.splits(model_sheet("llama-3.1-405b"), NODE, RolloutRole(gpus=1, cpus=3)))
    assert len(found) == len({(one.tensor_parallel, one.pipeline_parallel) for one in found}) > 10
    for one in found:
        assert one.nodes <= 4
        assert one.parts // one.nodes <= 8
        assert one.pipeline_parallel % one.nodes == 0


def test_a_model_that_does_not_fit_is_told_the_split_that_holds_it(
    make_workload: Callable[..., Any], make_cluster: Callable[..., Any]
) -> None:
    workload = make_workload(model="llama-3.1-405b")
    with pytest.raises(
        ConfigError, match=r"fits with each layer over 8 GPUs, 2 stages of layers on 2 nodes: .*nodes=2"
    ):
        plan(workload, make_cluster(), None, Calibration())
    made = plan(workload, make_cluster(rollout=TWO_NODES), None, Calibration())
    figures = dict(rows(made))
    assert figures["engines"] == "1 × 16 h100 on 2 nodes, llama-3.1-405b in bf16"
    assert "8 GPUs" in figures["split"]
    assert "2 stages of layers on 2 nodes" in figures["split"]


def test_a_split_that_wastes_gpus_is_advised_away(
    make_workload: Callable[..., Any], make_cluster: Callable[..., Any]
) -> None:
    cluster = make_cluster(rollout={"gpus": 8, "tensor_parallel": 8, "cpus": 9})
    found = advise(plan(make_workload(), cluster, None, Calibration()), None)
    (better,) = [one for one in found if "split each engine otherwise" in one.change]
    assert better.gain > 1.1
    assert "cluster.roles.rollout.tensor_parallel=1" in better.key
