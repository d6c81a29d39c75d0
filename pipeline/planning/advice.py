"""Advises what to change of a plan, and what it would give: each change is planned again, not guessed.

Plan ─► candidates for what binds it ─► plan() of each ─► Advice, best first
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from berry.pipeline.config.plan import Workload
from berry.pipeline.config.sections.cluster import Cluster, NodeType
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning.capacity import ENOUGH, Binding, CapacityPlan, plan
from berry.pipeline.planning.engines import BatchLimit, best_split
from berry.pipeline.planning.sheets import Prices
from berry.pipeline.planning.splits import described, keys

CPU_NODE = "epyc-9654"
CPU_NODE_CORES, CPU_NODE_RESERVED = 192, 4  # two sockets of that sheet


@dataclass(frozen=True, slots=True)
class Advice:
    """One change and the plan with it. `gain`: rate with it over the rate now; `saving`: cost of a kept
    trajectory now over with it (None without prices)."""

    change: str
    key: str
    plan: CapacityPlan
    gain: float
    saving: float | None


def advise(now: CapacityPlan, prices: Prices | None, most: int = 4) -> list[Advice]:
    """Finds changes that make the run at least 2% faster or cheaper, the cheapest a kept trajectory first."""
    advice = []
    for change, key, workload, cluster in _candidates(now):
        try:
            then = plan(workload, cluster, prices, now.calibration)
        except ConfigError:
            continue  # a change that doesn't fit is no advice
        gain = then.rate / now.rate
        before, after = now.usd_per_million_kept, then.usd_per_million_kept
        saving = before / after if before is not None and after else None
        if max(gain, saving or 0) >= 1.02:
            advice.append(Advice(change, key, then, gain, saving))
    return sorted(advice, key=lambda a: -(a.saving or a.gain))[:most]


Candidate = tuple[str, str, Workload, Cluster]


def _candidates(now: CapacityPlan) -> Iterator[Candidate]:
    if now.binding in (Binding.SANDBOX, Binding.CALLS):
        yield from _more_sandboxes(now)
    elif now.binding is Binding.REWARD:
        yield from _more_rewards(now)
    elif now.binding is Binding.THREADS and now.cluster.roles.rollout.gpus == 1:
        yield from _more_threads(now)
    elif now.binding is Binding.IN_FLIGHT:
        w = now.workload.model_copy(update={"in_flight": now.workload.in_flight * 2})
        yield "hold twice the trajectories in flight", f"workload.in_flight={w.in_flight:g}", w, now.cluster
    else:
        yield from _faster_engines(now)
    yield from _fewer_cpu_nodes(now)
    yield from _more_gpu_nodes(now)


def _more_threads(now: CapacityPlan) -> Iterator[Candidate]:
    role = now.cluster.roles.rollout.model_copy(update={"gpus": 0.5})
    cluster = now.cluster.model_copy(update={"roles": now.cluster.roles.model_copy(update={"rollout": role})})
    yield "two engines on each GPU, a thread each", "cluster.roles.rollout.gpus=0.5", now.workload, cluster


def _more_sandboxes(now: CapacityPlan) -> Iterator[Candidate]:
    if now.slots_needed is None:
        return
    role = now.cluster.roles.sandbox
    actors = math.ceil(now.slots_needed / role.slots)
    if isinstance(now.cluster.ratio, float) or role.max is not None:
        roles = now.cluster.roles.model_copy(update={"sandbox": role.model_copy(update={"max": None})})
        yield (
            f"let sandboxes take the free cores ({now.slots_needed} slots are needed)",
            "cluster.ratio=auto cluster.roles.sandbox.max=null",
            now.workload,
            now.cluster.model_copy(update={"ratio": "auto", "roles": roles}),
        )
    missing = actors - now.placement.sandbox.actors
    usable = CPU_NODE_CORES - CPU_NODE_RESERVED
    each = int(usable // role.cpus)
    if missing > 0 and each:
        count = math.ceil(missing / each)
        node = NodeType(
            count=count,
            cores=CPU_NODE_CORES,
            reserved_cores=CPU_NODE_RESERVED,
            cpu_sockets=2,
            cpu=CPU_NODE,
            labels=dict(role.labels),
        )
        ratio = now.cluster.ratio if now.cluster.ratio == "auto" else "auto"
        cluster = now.cluster.model_copy(update={"nodes": {**now.cluster.nodes, "more-cpus": node}, "ratio": ratio})
        yield (
            f"add {count} CPU node{'s' if count > 1 else ''} of {CPU_NODE_CORES} cores for sandboxes",
            f"cluster.nodes.more-cpus={{count: {count}, cores: {CPU_NODE_CORES}, cpu: {CPU_NODE}}}",
            now.workload,
            cluster,
        )
    calls = now.workload.calls
    if now.binding is Binding.CALLS and calls is not None:
        quick = calls.model_copy(update={"mean_ms": calls.mean_ms / 2, "p99_ms": calls.p99_ms and calls.p99_ms / 2})
        yield (
            "halve the tool calls' time (more sessions kept, so that fewer are rebuilt; rollout.tools[].sessions)",
            f"workload.calls.mean_ms={quick.mean_ms:g}",
            now.workload.model_copy(update={"calls": quick}),
            now.cluster,
        )
        return
    halved = tuple(
        v.model_copy(update={"mean_ms": v.mean_ms / 2, "p99_ms": v.p99_ms and v.p99_ms / 2})
        for v in now.workload.verifiers
    )
    slow = max(now.workload.verifiers, key=lambda v: v.share * v.mean_ms)
    yield (
        f"halve the checks' time (fewer or smaller cases; {slow.name} takes most)",
        f"workload.verifiers: mean_ms {slow.mean_ms:g} -> {slow.mean_ms / 2:g}",
        now.workload.model_copy(update={"verifiers": halved}),
        now.cluster,
    )


def _more_rewards(now: CapacityPlan) -> Iterator[Candidate]:
    role, have = now.cluster.roles.reward, now.placement.reward.actors
    wanted = max(have + 1, math.ceil(now.reward_share * now.placement.gpus / role.gpus)) if role.gpus else have + 1
    reward = role.model_copy(update={"min": 0, "max": wanted, "per_node": None})
    roles = now.cluster.roles.model_copy(update={"reward": reward})
    cluster = now.cluster.model_copy(update={"roles": roles})
    yield f"{wanted} reward actors instead of {have}", f"cluster.roles.reward.max={wanted}", now.workload, cluster


def _faster_engines(now: CapacityPlan) -> Iterator[Candidate]:
    w, group = now.workload, now.fleet.groups[0]
    yield from _another_split(now)
    if group.limit is BatchLimit.MAX_NUM_SEQS:
        more = w.model_copy(update={"max_num_seqs": w.max_num_seqs * 2})
        yield "decode twice the sequences at once", f"workload.max_num_seqs={more.max_num_seqs}", more, now.cluster
    if group.engine is None:
        return
    if w.weights in ("bf16", "fp32") and "fp8" in group.engine.device.tflops:
        fp8 = w.model_copy(update={"weights": "fp8", "kv": "fp8"})
        yield "8-bit weights and KV cache", "workload.weights=fp8 workload.kv=fp8", fp8, now.cluster
    elif w.kv in ("bf16", "fp32"):
        kv = w.model_copy(update={"kv": "fp8"})
        yield "8-bit KV cache", "workload.kv=fp8", kv, now.cluster


def _another_split(now: CapacityPlan) -> Iterator[Candidate]:
    """Tries the split of an engine over GPUs and nodes that is fastest a GPU."""
    group, role = now.fleet.groups[0], now.cluster.roles.rollout
    if group.engine is None or not role.gpus or role.gpus < 1:
        return
    found = best_split(now.workload, now.cluster, group.node_type, group.engine, now.sharing)
    if found is None or (found.parts, found.pipeline_parallel) == (role.parts, role.pipeline_parallel):
        return
    most = None if role.max is None else max(1, int(role.max * role.gpus // found.gpus))
    found = found.model_copy(update={"min": 1, "max": most})
    roles = now.cluster.roles.model_copy(update={"rollout": found})
    cluster = now.cluster.model_copy(update={"roles": roles})
    yield f"split each engine otherwise: {described(found)}", keys(found), now.workload, cluster


def _fewer_cpu_nodes(now: CapacityPlan) -> Iterator[Candidate]:
    """Tries fewer CPU-only nodes: those beyond what the sandboxes need cost money for nothing."""
    if now.slots_needed is None or now.rate < ENOUGH * now.fastest:
        return
    for kind, node in now.cluster.nodes.items():
        held = now.placement.sandbox.by_node.get(kind, 0)
        if node.gpus or node.count < 2 or not held:
            continue
        spare = now.placement.sandbox.actors - math.ceil(now.slots_needed / now.cluster.roles.sandbox.slots)
        drop = min(node.count - 1, int(spare // (held / node.count)))
        if drop < 1:
            continue
        fewer = node.model_copy(update={"count": node.count - drop})
        cluster = now.cluster.model_copy(update={"nodes": {**now.cluster.nodes, kind: fewer}})
        yield (
            f"do with {fewer.count} of {node.count} {kind} nodes",
            f"cluster.nodes.{kind}.count={fewer.count}",
            now.workload,
            cluster,
        )


def _more_gpu_nodes(now: CapacityPlan) -> Iterator[Candidate]:
    kind = next(k for k, n in now.placement.rollout.by_node.items() if n)
    node = now.cluster.nodes[kind]
    if not node.gpus:
        return
    more = node.model_copy(update={"count": node.count + 1})
    cluster = now.cluster.model_copy(update={"nodes": {**now.cluster.nodes, kind: more}})
    yield f"one more {kind} node", f"cluster.nodes.{kind}.count={more.count}", now.workload, cluster
