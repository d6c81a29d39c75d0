"""Turns rollout and reward actors into rates: trajectories/s of full engines, and sequences for a rate.

Workload + Cluster + Placement ─► EngineGroup (alike engines) ─► EngineFleet.fastest, EngineFleet.running(rate)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from berry.pipeline.config.plan import Calibration, Workload
from berry.pipeline.config.sections.cluster import Cluster, RolloutRole
from berry.pipeline.core.placement import Placement, RolePlacement
from berry.pipeline.core.search.trial import TreeShape
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning import splits
from berry.pipeline.planning.formulas import roofline
from berry.pipeline.planning.formulas.roofline import EngineModel
from berry.pipeline.planning.models import ModelSheet, model_sheet
from berry.pipeline.planning.sheets import Accelerator, Dtype, accelerator
from berry.pipeline.planning.tool_calls import ToolLoad
from berry.pipeline.planning.tree_shape import Sharing, depth_steps


class BatchLimit(StrEnum):
    """Names what keeps an engine from decoding more sequences at once."""

    MEMORY = "KV memory"
    MAX_NUM_SEQS = "max_num_seqs"
    SPEED = "tokens_per_s_user"
    PACE = "max_num_seqs (set pace)"


@dataclass(frozen=True, slots=True)
class EngineGroup:
    """`count` engines on one node type. `batch` sequences at once; for one trajectory `new_tokens` are
    generated, `prefill_s` is spent on reading by the whole engine and `own_s` by its own sequence;
    `context` tokens lie behind a sequence on average. `engine` is None for a synthetic one of a set
    pace."""

    node_type: str
    count: int
    engine: EngineModel | None
    batch: int
    limit: BatchLimit
    context: float
    new_tokens: float
    prefill_s: float
    paced_step_s: float = 0.0
    own_s: float = 0.0

    def step_s(self, running: float) -> float:
        """Computes the time of one step, one token for each of `running` sequences, in s."""
        if self.engine is None:
            return self.paced_step_s
        return roofline.decode_step_s(self.engine, running, self.context)

    def rate(self, running: float) -> float:
        """Trajectories/s of one engine with `running` sequences; below one, it runs that part of the
        time."""
        if running < 1:
            return running * self.rate(1)
        return running / (self.new_tokens * self.step_s(running) + self.own_s + running * self.prefill_s)

    @property
    def fastest(self) -> float:
        """Trajectories/s of one full engine."""
        return self.rate(self.batch)

    @property
    def compute_bound(self) -> bool:
        """Says whether a full decoding step is limited by arithmetic rather than by reading memory."""
        if self.engine is None:
            return False
        m = self.engine.model
        part = self.batch / max(1, min(self.engine.stages, self.batch))
        compute = part * roofline.token_flops(m, self.context) / self.engine.flops
        read = roofline.weights_read_bytes(self.engine, part)
        read += roofline.kv_bytes(m, part, self.context, self.engine.kv, self.engine.tensor_parallel)
        return compute >= read / self.engine.bandwidth

    def running(self, rate: float) -> float:
        """Sequences that one engine must decode at once to complete `rate` trajectories/s."""
        low, high = 0.0, float(self.batch)
        for _ in range(50):
            middle = (low + high) / 2
            if self.rate(middle) < rate:
                low = middle
            else:
                high = middle
        return high


@dataclass(frozen=True, slots=True)
class EngineFleet:
    """All engines; work goes to each in proportion to what it can do."""

    groups: tuple[EngineGroup, ...]

    @property
    def fastest(self) -> float:
        """Trajectories/s with every engine full."""
        return sum(g.count * g.fastest for g in self.groups)

    @property
    def sequences(self) -> int:
        """Sequences that all engines decode at once."""
        return sum(g.count * g.batch for g in self.groups)

    def running(self, rate: float) -> float:
        """Sequences that must be decoding for `rate` trajectories/s."""
        share = min(1.0, rate / self.fastest)
        return sum(g.count * g.running(share * g.fastest) for g in self.groups)

    def rates(self) -> Callable[[np.ndarray], np.ndarray]:
        """Trajectories/s as a function of how many are at the engines, spread evenly over their places."""
        curves = []
        for g in self.groups:
            grid = np.unique(np.concatenate([[0.0], np.geomspace(1, g.batch, 128)]))
            curves.append((g.count, grid / g.batch, np.array([g.rate(n) for n in grid])))
        places = self.sequences

        def rate(under_way: np.ndarray) -> np.ndarray:
            share = np.minimum(under_way / places, 1.0)
            return np.sum([count * np.interp(share, xs, ys) for count, xs, ys in curves], axis=0)

        return rate


def fleet(
    w: Workload,
    cluster: Cluster,
    placed: Placement,
    tree: TreeShape,
    shared: Sharing,
    calibration: Calibration,
    tools: ToolLoad,
) -> EngineFleet:
    """Builds the engines of a placement. Raises ConfigError where the model doesn't fit, or no sequence can be
    served."""
    new = tree.generated / tree.leaves * tools.sampled_share
    again = min((w.block_size + 1) / 2, w.prompt_tokens) if w.prefix_caching else shared.context
    prefill_tokens = shared.prefill / tree.leaves + tools.given + tools.issued * again
    groups = []
    if w.paced is not None:
        read = w.paced.prefill_tokens_per_s
        own = prefill_tokens / read if read else 0.0
        scale = calibration.engine_scale
        pace = EngineGroup(
            node_type="synthetic",
            count=placed.rollout.actors,
            engine=None,
            batch=w.max_num_seqs,
            limit=BatchLimit.PACE,
            context=shared.context,
            new_tokens=new,
            prefill_s=0.0,
            paced_step_s=1 / w.paced.tokens_per_s / scale,
            own_s=own / scale,
        )
        return EngineFleet((pace,))
    model = model_sheet(w.model or "")
    for kind, count in placed.rollout.by_node.items():
        if count == 0:
            continue
        engine = _engine(cluster, kind, placed.rollout, model, (w.weights, w.kv), calibration)
        try:
            batch, limit = _batch(w, engine, shared)
        except ConfigError as error:
            split = None if engine.has_room(shared.resident) else best_split(w, cluster, kind, engine, shared)
            if split is None:
                raise
            raise ConfigError(f"{error}. It fits with {splits.described(split)}: {splits.keys(split)}") from None
        prefill = roofline.prefill_s(engine, prefill_tokens, w.prompt_tokens)
        groups.append(EngineGroup(kind, count, engine, batch, limit, shared.context, new, prefill))
    return EngineFleet(tuple(groups))


def best_split(w: Workload, cluster: Cluster, kind: str, engine: EngineModel, shared: Sharing) -> RolloutRole | None:
    """The split of an engine over nodes of this kind that is fastest a GPU (`splits.choose`)."""
    return splits.choose(
        engine,
        cluster.nodes[kind],
        cluster.roles.rollout,
        max_num_seqs=w.max_num_seqs,
        resident=shared.resident,
        context=shared.context,
    )


def reward_s(
    w: Workload, cluster: Cluster, placed: Placement, tree: TreeShape, shared: Sharing, calibration: Calibration
) -> float:
    """Computes the time that one trajectory takes of a reward actor, in s: all its value models one after the other."""
    if not w.rewards:
        return 0.0
    if placed.reward.actors == 0:
        wanted = ", ".join(r.name for r in w.rewards)
        raise ConfigError(
            f"workload.rewards asks for {wanted}, but cluster {cluster.name} has no reward actors: set "
            f"cluster.roles.reward.max (they take GPUs from the rollout actors), or drop the rewards"
        )
    total = 0.0
    kind = next(k for k, n in placed.reward.by_node.items() if n)
    for reward in w.rewards:
        sheet = model_sheet(reward.model)
        engine = _engine(cluster, kind, placed.reward, sheet, (reward.dtype, reward.dtype), calibration)
        if engine.kv_budget_bytes <= 0:
            raise ConfigError(f"reward model {reward.model} does not fit its share of a device")
        tokens = (tree.generated + shared.prefill) / tree.leaves
        if reward.per == "step":
            tokens += depth_steps(w) * (w.block_size + 1) / 2
        total += roofline.prefill_s(engine, tokens, shared.context)
    return total


def _engine(
    cluster: Cluster,
    kind: str,
    role: RolePlacement,
    model: ModelSheet,
    dtypes: tuple[Dtype, Dtype],
    calibration: Calibration,
) -> EngineModel:
    device = _device(cluster, kind, role.role)
    return EngineModel(
        model,
        device,
        role.gpus or role.cpus,
        dtypes[0],
        dtypes[1],
        calibration,
        stages=role.stages,
        nodes=role.nodes,
        network_gb_per_s=cluster.nodes[kind].network_gbps / 8,
    )


def _device(cluster: Cluster, kind: str, role: str) -> Accelerator:
    name = cluster.nodes[kind].accelerator
    if name is None:
        raise ConfigError(
            f"cluster {cluster.name}: {role} actors lie on {kind}, whose `accelerator` is not set: name a sheet of "
            f"configs/hardware, or pin the role elsewhere with labels"
        )
    return accelerator(name)


def _batch(w: Workload, engine: EngineModel, shared: Sharing) -> tuple[int, BatchLimit]:
    memory = roofline.largest_batch_by_memory(engine, shared.resident)
    if memory < 1:
        need = roofline.kv_bytes(engine.model, 1, shared.resident, engine.kv, engine.tensor_parallel)
        copies = engine.model.kv_copies(engine.tensor_parallel)
        held = f" × {copies:g} copies" if copies > 1 else ""
        raise ConfigError(
            f"no sequence fits: {shared.resident:.0f} tokens × {engine.model.kv_values} KV values × "
            f"{w.kv}{held} = {need / 1e9:.3g} GB, and {engine.kv_budget_bytes / 1e9:.3g} GB are left beside the "
            f"weights on {engine.devices:g} × {engine.device.name}. Use more devices an engine, or shorter outputs"
        )
    limits = [(memory, BatchLimit.MEMORY), (w.max_num_seqs, BatchLimit.MAX_NUM_SEQS)]
    if w.tokens_per_s_user is not None:
        speed = roofline.largest_batch_by_speed(engine, shared.context, w.tokens_per_s_user)
        if speed < 1:
            alone = 1 / roofline.decode_step_s(engine, 1, shared.context)
            raise ConfigError(
                f"workload.tokens_per_s_user {w.tokens_per_s_user:g}: even alone a sequence gets {alone:.3g} "
                f"tokens/s on {engine.devices:g} × {engine.device.name}"
            )
        limits.append((speed, BatchLimit.SPEED))
    return min(limits, key=lambda pair: pair[0])
