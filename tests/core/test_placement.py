"""What fits a cluster, and what is said when it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.reading.shipped import names
from berry.pipeline.config.sections.cluster import (
    Cluster,
    NodeType,
    RewardRole,
    Roles,
    RolloutRole,
    SandboxRole,
    named_cluster,
)
from berry.pipeline.core.placement import place_actors
from berry.pipeline.errors import ConfigError

MakeCluster = Callable[..., Cluster]


@pytest.fixture
def make_cluster() -> MakeCluster:
    """Two nodes of eight H100 with a few keys changed."""

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


@pytest.mark.parametrize("name", names("clusters"))
def test_every_shipped_cluster_has_room_for_its_roles(name: str) -> None:
    cluster = named_cluster(name)
    placed = place_actors(cluster)
    assert cluster.name == placed.cluster == name
    assert placed.rollout.actors >= 1
    assert placed.sandbox.total_slots >= 1


@pytest.mark.parametrize(
    ("name", "gpus", "sockets"), [("hgx-h100", 8, 2), ("gb200-nvl72", 72, 36), ("trainium2", 16, 2)]
)
def test_the_gpu_to_cpu_ratios_are_those_of_the_machines(name: str, gpus: int, sockets: int) -> None:
    placed = place_actors(named_cluster(name))
    assert placed.gpus / placed.cpu_sockets == gpus / sockets


def test_a_laptop_has_one_engine_and_two_slots() -> None:
    placed = place_actors(Cluster())
    assert (placed.rollout.actors, placed.sandbox.actors, placed.sandbox.total_slots) == (1, 1, 2)
    assert placed.gpus == 0


def test_a_ratio_sets_the_slots_and_leaves_room_above(make_cluster: MakeCluster) -> None:
    placed = place_actors(make_cluster(ratio=4))
    assert placed.slots_per_gpu == 4
    assert placed.sandbox.actors == 8
    assert placed.sandbox.max_actors > placed.sandbox.actors


def test_sandboxes_pinned_to_cpu_nodes_stay_there(make_cluster: MakeCluster) -> None:
    cpus = {"count": 3, "cores": 64, "labels": {"kind": "cpu"}}
    placed = place_actors(make_cluster(nodes={"cpu": cpus}, sandbox={"labels": {"kind": "cpu"}}))
    assert placed.sandbox.by_node == {"gpu": 0, "cpu": 24}


def test_reward_actors_share_gpus_and_leave_the_rest_to_engines(make_cluster: MakeCluster) -> None:
    placed = place_actors(make_cluster(reward={"gpus": 0.5, "max": 3}))
    assert placed.reward.actors == 3
    assert placed.rollout.actors == 14
    assert sum(n.gpus_free for n in placed.nodes) == 0.5


def test_one_reward_actor_a_node_scales_with_the_nodes(make_cluster: MakeCluster) -> None:
    placed = place_actors(make_cluster(reward={"gpus": 1, "per_node": 1}, node={"count": 5}))
    assert placed.reward.actors == 5
    assert placed.rollout.actors == 35
    assert all(n.reward == 1 for n in placed.nodes)


def test_a_split_engine_takes_whole_gpus_of_one_node(make_cluster: MakeCluster) -> None:
    placed = place_actors(make_cluster(rollout={"gpus": 4, "tensor_parallel": 4}, reward={"gpus": 0.5, "max": 1}))
    assert placed.rollout.actors == 3


def test_an_engine_over_several_nodes_takes_as_much_of_each(make_cluster: MakeCluster) -> None:
    split = {"gpus": 8, "tensor_parallel": 4, "pipeline_parallel": 2, "nodes": 2, "cpus": 10, "memory_gib": 64}
    placed = place_actors(make_cluster(rollout=split, node={"count": 4, "memory_gib": 160}))
    engines = placed.engines[""]
    assert (engines.actors, engines.nodes, engines.stages, engines.by_node) == (4, 2, 2, {"gpu": 4})
    assert placed.rollout_units == 32
    assert sum(node.rollout for node in placed.nodes) == 8
    assert all(node.rollout * 4 + node.gpus_free == 8 for node in placed.nodes)
    assert place_actors(make_cluster(rollout=split | {"max": 1})).engines[""].actors == 1


def test_an_engine_stays_on_nodes_of_one_kind_where_there_are_enough(make_cluster: MakeCluster) -> None:
    other = {"other": {"count": 2, "gpus": 8, "cores": 112}}
    split = {"gpus": 16, "tensor_parallel": 8, "pipeline_parallel": 2, "nodes": 2, "cpus": 20}
    placed = place_actors(make_cluster(rollout=split, node={"count": 3}, nodes=other))
    assert placed.engines[""].by_node == {"gpu": 1, "other": 1}
    assert [node.rollout for node in placed.nodes] == [1, 1, 0, 1, 1]
    mixed = place_actors(make_cluster(rollout=split, node={"count": 1}, nodes={"other": other["other"] | {"count": 1}}))
    assert mixed.engines[""].actors == 1


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"rollout": {"gpus": 24, "tensor_parallel": 8, "pipeline_parallel": 3, "nodes": 3, "cpus": 30}},
            r"rollout.nodes 3: one engine takes 8 GPUs, 10 cores on each of 3 nodes, .* 2 × gpu with 8 GPUs",
        ),
        ({"rollout": {"gpus": 16, "tensor_parallel": 16}}, r"at most 8, or nodes 2 with as many stages"),
        ({"ratio": 64}, r"64 slots × 16 rollout GPUs = 128 sandbox actors .* but 22 fit \(176 slots.* at most 11"),
        ({"rollout": {"gpus": 16, "tensor_parallel": 16}}, "tensor_parallel 16 is more GPUs than one node has"),
        ({"rollout": {"min": 20}}, r"20 × \(1 GPUs, 3 cores\) = 20 GPUs, 60 cores, but 16 fit"),
        ({"rollout": {"cpus": 14}, "sandbox": {"cpus": 120}}, "one actor takes 0 GPUs, 120 cores, and no node holds"),
        ({"sandbox": {"labels": {"kind": "cpu"}}}, "match no node type. There are gpu: no labels"),
        ({"sandbox": {"memory_gib": 64}, "node": {"memory_gib": 32}}, r"64 GiB, and no node holds that"),
        ({"ratio": 4, "sandbox": {"max": 2}}, "roles.sandbox.max 2"),
        ({"rollout": {"gpus": 1, "cpus": 56, "min": 4}}, "cluster.roles.sandbox.min 1: .* but 0 fit beside"),
    ],
)
def test_what_does_not_fit_is_explained(make_cluster: MakeCluster, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        place_actors(make_cluster(**changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rollout": {"gpus": 1.5}}, "above 1 only whole GPUs"),
        ({"rollout": {"gpus": 4}}, "leaves 3 GPUs unused"),
        ({"rollout": {"tensor_parallel": 2}}, "needs gpus: 2, got 1"),
        (
            {"rollout": {"gpus": 4, "tensor_parallel": 4, "pipeline_parallel": 2}},
            "tensor_parallel 4 × pipeline_parallel 2 needs gpus: 8, got 4",
        ),
        ({"rollout": {"gpus": 8, "tensor_parallel": 8, "nodes": 3}}, "nodes 3 must divide the 8 GPUs"),
        (
            {"rollout": {"gpus": 12, "tensor_parallel": 4, "pipeline_parallel": 3, "nodes": 2}},
            "nodes 2 with pipeline_parallel 3 cuts a stage between nodes: set pipeline_parallel: 2",
        ),
        ({"sandbox": {"gpus": 1}}, "take no GPU"),
        ({"node": {"cores": -1}}, "greater than 0"),
        ({"node": {"reserved_cores": 200}}, "leaves none of 112 cores"),
        ({"ratio": 0}, "above 0"),
        ({"ratio": float("nan")}, "above 0"),
        ({"rollout": {"min": 3, "max": 2}}, "max 2 is below min 3"),
        ({"nodes": {"x": {"cores": 1, "gpu": 3}}}, "gpu is not a known key"),
    ],
)
def test_absurd_values_are_refused(make_cluster: MakeCluster, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        make_cluster(**changes)


def test_an_unknown_cluster_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="did you mean hgx-h100"):
        named_cluster("hgx-h10")


@given(
    gpus=st.integers(0, 8),
    cores=st.integers(4, 64),
    count=st.integers(1, 5),
    engine_gpus=st.sampled_from([0, 0.25, 0.5, 1]),
    reward_gpus=st.sampled_from([0, 0.3, 0.5, 1]),
    rewards=st.integers(0, 6),
    slots=st.integers(1, 8),
)
def test_no_layout_takes_more_than_there_is(
    gpus: int, cores: int, count: int, engine_gpus: float, reward_gpus: float, rewards: int, slots: int
) -> None:
    cluster = Cluster(
        nodes={"n": NodeType(count=count, gpus=gpus, cores=cores)},
        roles=Roles(
            rollout=RolloutRole(gpus=engine_gpus, cpus=1),
            reward=RewardRole(gpus=reward_gpus, cpus=1, max=rewards),
            sandbox=SandboxRole(cpus=2, slots=slots),
        ),
    )
    try:
        placed = place_actors(cluster)
    except ConfigError:
        return
    for node in placed.nodes:
        assert node.rollout + node.reward + 2 * node.sandbox + node.cores_free == pytest.approx(cores)
        assert node.rollout * engine_gpus + node.reward * reward_gpus + node.gpus_free == pytest.approx(gpus)
        assert node.cores_free >= -1e-6
        assert node.gpus_free >= -1e-6
