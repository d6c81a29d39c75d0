"""Asks Ray for the actors of a layout, and says what of a layout fits the nodes that are there now.

    Placement, ray.nodes() ─► fitting ─► Placement of now (ResourceError that says what fits)
    RolePlacement ─► rollout | sandbox | reward ─► an actor, up or waiting for a node

An engine with GPUs of its own gets a placement group of one bundle: all of them are of one node, and its place is known
to be taken before fractions of GPUs are given away, which would break up nodes. One that is spread over several nodes
gets a bundle for each GPU, packed on as few nodes as hold them, and its actor sits in the first. Sandboxes take no GPU
and yield the cores to engines (`verification.nice`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.cluster import Cluster, NodeType, RolloutRole
from berry.pipeline.core.placement import Placement, RolePlacement, place_actors
from berry.pipeline.errors import ConfigError, ResourceError

CONCURRENT_CALLS = 10_000  # of one actor


def fitting(cluster: Cluster, planned: Placement, engines: Mapping[str, RolloutRole]) -> Placement:
    """The actors of `planned` that fit the nodes of Ray's cluster as it is now; `engines`: what those of each engine
    take. Raises ResourceError where not even the
    minimum of every role does."""
    import ray

    nodes = {
        f"{node['NodeManagerAddress']} ({node['NodeID'][:6]})": NodeType(
            gpus=int(node["Resources"].get("GPU", 0)),
            cores=node["Resources"]["CPU"],
            labels=node.get("Labels") or {},
        )
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
    }
    if not nodes:
        raise ResourceError("the Ray cluster has no node with a CPU core: start one with --num-cpus")
    roles = cluster.roles

    def most(role: Any, of: RolePlacement) -> Any:
        return role.model_copy(update={"max": of.actors, "per_node": None, "memory_gib": 0})

    now = cluster.model_copy(
        update={
            "nodes": nodes,
            "ratio": "auto",
            "roles": roles.model_copy(
                update={
                    "reward": most(roles.reward, planned.reward),
                    "sandbox": most(roles.sandbox, planned.sandbox),
                }
            ),
        }
    )
    try:
        return place_actors(now, {name: most(role, planned.engines[name]) for name, role in engines.items()})
    except ConfigError as error:
        raise ResourceError(f"Ray's nodes don't hold cluster {cluster.name!r}: {error}") from error


def rollout(
    config: RunConfig, role: RolePlacement, *, run_url: str, worker_id: str, round_index: int
) -> tuple[Any, Any]:
    """Asks for a rollout actor of the role's engine; returns it and its placement group, None where it takes no whole
    GPU."""
    from berry.pipeline.runtime.actors import rollout_actor

    options = _options(role)  # the engine makes its own environment, where it knows its host
    group = None if role.gpus < 1 else _one_node(role) if role.nodes == 1 else _several_nodes(role)
    if group is not None:
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
            placement_group=group, placement_group_bundle_index=0
        )
        if role.nodes > 1:  # the GPUs are the parts'
            options |= {"num_gpus": 0, "num_cpus": _cores_of_a_part(role)}
        options.pop("label_selector", None)  # the group has it
    actor = rollout_actor.rollout_actor.options(**options)
    return actor.remote(config.model_dump_json(), run_url, worker_id, round_index, role.engine), group


def sandbox(config: RunConfig, planned: Placement) -> Any:
    """Asks for a sandbox actor."""
    from berry.pipeline.runtime.actors.sandbox_actor import sandbox_actor

    checker = config.verification.model_copy(update={"slots": planned.sandbox.slots})
    env = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    options = _options(planned.sandbox) | {"runtime_env": {"env_vars": env}}
    options["scheduling_strategy"] = "SPREAD"  # beside the engines: else Ray fills one node first
    return sandbox_actor.options(**options).remote(checker, config.rollout.waiting_sessions)


def reward(config: RunConfig, planned: Placement, *, run_url: str) -> Any:
    """Asks for a reward actor."""
    from berry.pipeline.runtime.actors import reward_actor

    threads = {"OMP_NUM_THREADS": str(max(1, round(planned.reward.cpus))), "OMP_WAIT_POLICY": "PASSIVE"}
    if not planned.reward.gpus:
        threads["CUDA_VISIBLE_DEVICES"] = ""  # else it takes memory of a GPU that engines were promised
    actor = reward_actor.reward_actor.options(**_options(planned.reward), runtime_env={"env_vars": threads})
    return actor.remote(config.model_dump_json(), run_url)


def _one_node(role: RolePlacement) -> Any:
    """A placement group of one bundle, which lies on one node; if it loses the node, Ray places it again, and its actor
    with it."""
    from ray.util.placement_group import placement_group

    more: dict[str, Any] = {"bundle_label_selector": [dict(role.labels)]} if role.labels else {}
    return placement_group([{"CPU": role.cpus, "GPU": role.gpus}], strategy="STRICT_PACK", **more)


def _several_nodes(role: RolePlacement) -> Any:
    """A placement group of one bundle for each part, of which vLLM's Ray executor fills one each."""
    from ray.util.placement_group import placement_group

    parts = int(role.gpus)
    more: dict[str, Any] = {"bundle_label_selector": [dict(role.labels)] * parts} if role.labels else {}
    return placement_group([{"CPU": _cores_of_a_part(role), "GPU": 1}] * parts, strategy="PACK", **more)


def _cores_of_a_part(role: RolePlacement) -> float:
    return math.floor(100 * role.cpus / role.gpus) / 100  # Ray counts in ten-thousandths


def _options(role: RolePlacement) -> dict[str, Any]:
    options: dict[str, Any] = {
        "num_cpus": role.cpus,
        "num_gpus": role.gpus,
        "max_restarts": -1,
        "max_concurrency": CONCURRENT_CALLS,
    }
    if role.labels:
        options["label_selector"] = dict(role.labels)
    return options
