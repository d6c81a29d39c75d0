"""Chooses how an engine is split over GPUs and nodes, and says what the split costs.

    layers over the GPUs of a node (tensor parallel) × stages of layers over nodes (pipeline parallel)

A layer that is split makes its devices exchange all activations twice; a stage hands them on once. So layers are split
within a node first, as far as attention heads can be divided, and what is more goes into stages: whole nodes each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from berry.pipeline.config.sections.cluster import NodeType, RolloutRole
from berry.pipeline.planning.formulas import roofline
from berry.pipeline.planning.formulas.roofline import EngineModel
from berry.pipeline.planning.models import ModelSheet

MOST_STAGES = 16


def splits(model: ModelSheet, node: NodeType, role: RolloutRole) -> Iterator[RolloutRole]:
    """Roles that take as many GPUs as nodes of this kind have, in every split of the model that keeps a stage on one
    node, fewest GPUs first; cores and memory as `role` has them for each GPU."""
    widths = [n for n in range(1, node.gpus + 1) if model.heads % n == 0 and n & (n - 1) == 0]
    found = [(width, stages) for width in widths for stages in range(1, MOST_STAGES + 1) if model.layers >= stages]
    for width, stages in sorted(found, key=lambda split: (split[0] * split[1], split[1])):
        fit = min(stages, node.gpus // width)  # stages on one node
        if stages % fit or stages // fit > node.count:
            continue
        yield with_split(role, width, stages, stages // fit)


def with_split(role: RolloutRole, tensor_parallel: int, pipeline_parallel: int, nodes: int) -> RolloutRole:
    """The role with this split, and cores and memory for as many GPUs; each part keeps a core busy, beside the actor's
    own."""
    parts, before = tensor_parallel * pipeline_parallel, max(1.0, role.gpus)
    return RolloutRole.model_validate(
        role.model_dump()
        | {
            "gpus": parts,
            "tensor_parallel": tensor_parallel,
            "pipeline_parallel": pipeline_parallel,
            "nodes": nodes,
            "cpus": max(role.cpus * parts / before, float(parts + 1) if parts > 1 else 0.0),
            "memory_gib": role.memory_gib * parts / before,
        }
    )


def choose(
    engine: EngineModel, node: NodeType, role: RolloutRole, *, max_num_seqs: int, resident: float, context: float
) -> RolloutRole | None:
    """The split that decodes most tokens/s a GPU, of those that hold a sequence of `resident` tokens beside the weights
    and `context` tokens behind each on average; of equals the one with fewest GPUs. None: none holds it.

    engine:  the model on this kind of node, in any split
    """
    best, most = None, 0.0
    for candidate in splits(engine.model, node, role):
        there = replace(engine, devices=candidate.parts, stages=candidate.pipeline_parallel, nodes=candidate.nodes)
        if there.has_room(resident):
            batch = min(roofline.largest_batch_by_memory(there, resident), max_num_seqs)
            speed = batch / roofline.decode_step_s(there, batch, context) / candidate.parts
            if speed > 1.02 * most:
                best, most = candidate, speed
    return best


def keys(role: RolloutRole) -> str:
    """The split of a role as keys of a plan's cluster."""
    pairs = {
        "gpus": f"{role.gpus:g}",
        "tensor_parallel": role.tensor_parallel,
        "pipeline_parallel": role.pipeline_parallel,
        "nodes": role.nodes,
        "cpus": f"{role.cpus:g}",
    }
    return " ".join(f"cluster.roles.rollout.{key}={value}" for key, value in pairs.items())


def described(role: RolloutRole) -> str:
    """A split in words: what is split over what."""
    layers = f"each layer over {role.tensor_parallel} GPUs" if role.tensor_parallel > 1 else "whole layers"
    stages = f", {role.pipeline_parallel} stages of layers" if role.pipeline_parallel > 1 else ""
    return f"{layers}{stages}" + (f" on {role.nodes} nodes" if role.nodes > 1 else "")


def cost_of(engine: EngineModel, batch: int, context: float) -> str | None:
    """What its split costs an engine of a decoding step of `batch` sequences, in words; None where nothing is split."""
    if engine.devices <= 1 or engine.device.effective:
        return None
    part = batch / max(1, min(engine.stages, batch))
    step = roofline.decode_step_s(engine, batch, context) * engine.scale
    talk = engine.stages * roofline.communication_s(engine, part) / step
    hand = engine.stages * roofline.handing_on_s(engine, part) / step
    told = []
    if engine.tensor_parallel > 1:
        way = "the network" if engine.nodes > engine.stages else "links of a node"
        told.append(f"each layer over {engine.tensor_parallel:g} GPUs ({talk:.1%} of a step on {way})")
    if engine.stages > 1:
        way = "the network" if engine.nodes > 1 else "links of a node"
        nodes = f" on {engine.nodes} nodes" if engine.nodes > 1 else ""
        told.append(f"{engine.stages} stages of layers{nodes} ({hand:.1%} of a step on {way})")
    return "; ".join(told)
