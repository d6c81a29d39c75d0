"""Plans a workload on a cluster: how fast it goes, what binds it, how long it takes and what it costs.

    Workload + Cluster ─► placement ─► engines, sandboxes, tool calls, rewards, threads, network (one closed network)
                                 ─► trajectories/s ─► kept, idle GPU share, slots needed, hours, bytes, dollars

Trajectories go round: they are generated, wait for tool calls, are scored and checked, and make room for the next.
While one waits for a call it takes no place at the engine. No engine waits for a verdict or a call as long as enough
others are under way, so engines idle only where a station is too slow on average, or its queue (which grows with the
tail of the service time) holds more trajectories than are in flight.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from berry.pipeline.config.plan import Calibration, Workload
from berry.pipeline.config.sections.cluster import Cluster
from berry.pipeline.core.placement import Placement, place_actors
from berry.pipeline.core.search.trial import TreeShape
from berry.pipeline.planning import totals
from berry.pipeline.planning.engines import EngineFleet, fleet, reward_s
from berry.pipeline.planning.formulas import queueing
from berry.pipeline.planning.formulas.closed_network import ClosedQueueNetwork, Cores
from berry.pipeline.planning.formulas.queueing import Service, Station
from berry.pipeline.planning.sheets import Prices
from berry.pipeline.planning.thread_cost import ThreadCost, thread_cost
from berry.pipeline.planning.tool_calls import ToolLoad, tool_load
from berry.pipeline.planning.tree_shape import Sharing, shape_of, sharing

ENOUGH = 0.99  # of what the engines could do: where more slots stop being worth while


class Binding(StrEnum):
    """Names what a run can't go beyond."""

    GPU_COMPUTE = "engine arithmetic"
    GPU_BANDWIDTH = "engine memory bandwidth"
    GPU_MEMORY = "engine memory for KV"
    SANDBOX = "sandbox slots"
    CALLS = "sandbox slots for tool calls"
    REWARD = "reward actors"
    THREADS = "rollout actors' threads"
    NETWORK = "network"
    CORES = "cores that all share"
    IN_FLIGHT = "trajectories in flight"
    PACE = "the engines' set pace"


@dataclass(frozen=True, slots=True)
class Use:
    """A station at the planned rate: share of its servers busy, waits of one visit in s."""

    name: str
    servers: int
    busy: float
    wait_s: float
    wait_p99_s: float


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """One workload on one cluster. Rates are for the whole cluster and a second, unless a name says
    otherwise.

    `slots_average` is λ × S, what averages ask for (of checks or tool calls, whichever take more: each have as many
    slots); `slots_needed` what keeps 99% of the rate and 99% of
    the waits below `verdict_wait_share` of a trajectory's time (None: no number does). `gpu_idle_share`:
    share of the engines' rate that is lost.
    """

    cluster: Cluster
    placement: Placement
    workload: Workload
    calibration: Calibration
    tree: TreeShape
    sharing: Sharing
    tools: ToolLoad
    fleet: EngineFleet
    thread: ThreadCost
    service: Service
    network: ClosedQueueNetwork
    slot_share: float
    rate: float
    fastest: float
    binding: Binding
    uses: tuple[Use, ...]
    slots: int
    slots_average: float
    slots_needed: int | None
    reward_share: float
    kept_per_hour: float
    network_gbps: float
    totals: totals.WorkTotals
    usd_per_hour: float | None

    @property
    def tokens_per_s(self) -> float:
        return self.rate * self.tree.generated / self.tree.leaves * self.tools.sampled_share

    @property
    def gpu_idle_share(self) -> float:
        return max(0.0, 1 - self.rate / self.fastest)

    @property
    def units(self) -> float:
        """Counts rollout GPUs (engines where there are none)."""
        return self.placement.rollout_units

    @property
    def usd_per_million_kept(self) -> float | None:
        if self.usd_per_hour is None or self.kept_per_hour == 0:
            return None
        return self.usd_per_hour / self.kept_per_hour * 1e6

    def rate_with(self, slots: float) -> float:
        """Trajectories/s with another number of sandbox slots, all else equal."""
        return self.network.rate(max(1, int(slots * self.slot_share)))

    @property
    def generation_s(self) -> float:
        """Computes the time from a trajectory's first to its last token on a full engine, in s."""
        return generation_s(self.fleet)


def generation_s(engines: EngineFleet) -> float:
    """Computes the time from a trajectory's first to its last token on a full engine, its share of prefill included,
    in s."""
    g = engines.groups[0]
    return g.batch / g.fastest


def shared_cores(w: Workload, cores: float, calibration: Calibration, tools: ToolLoad) -> Cores:
    """Shares out all cores of the cluster: a paced engine leaves its host's to sandboxes and searches."""
    scale = calibration.verify_scale / 1e3
    stated_s = scale * sum(v.share * v.mean_ms for v in w.verifiers)
    computing_s = scale * sum(v.share * v.mean_ms * v.cpu_share for v in w.verifiers)
    return Cores(
        count=cores,
        own_s=calibration.orchestration_ms / 1e3 + tools.made * (tools.cpu_s + calibration.cpu_overhead_ms / 1e3),
        check_s=computing_s + calibration.cpu_overhead_ms / 1e3,
        idle_s=stated_s - computing_s,
        turn_s=calibration.verify_overhead_ms / 1e3,
    )


def verifier_service(w: Workload, calibration: Calibration) -> Service:
    """Mixes the verifiers' times into the time that one check holds a slot."""
    scale = calibration.verify_scale / 1e3
    parts = []
    for v in w.verifiers:
        scv = 1.0 if v.p99_ms is None else queueing.lognormal_scv(v.mean_ms, v.p99_ms)
        parts.append((v.share, Service(v.mean_ms * scale, scv)))
    stated, more_s = queueing.mixture(parts), calibration.verify_overhead_ms / 1e3
    mean = stated.mean_s + more_s
    return Service(mean, stated.scv * (stated.mean_s / mean) ** 2)


def plan(w: Workload, cluster: Cluster, prices: Prices | None, calibration: Calibration) -> CapacityPlan:
    """Plans `w` on `cluster`. Raises ConfigError with the arithmetic where the combination is impossible."""
    placed, tree = place_actors(cluster), shape_of(w)
    shared = sharing(w, tree)
    tools = tool_load(w, tree, calibration)
    engines = fleet(w, cluster, placed, tree, shared, calibration, tools)
    service = verifier_service(w, calibration)
    reward = Service(reward_s(w, cluster, placed, tree, shared, calibration), 1.0)
    stored = totals.storage_bytes_per_trajectory(w, tree, calibration)
    wire = stored + w.output_tokens * totals.WIRE_BYTES_PER_TOKEN
    thread = thread_cost(w, tree, tools, calibration)
    slot_share = 1.0 if w.paced else _cores_for_slots(w, cluster, tools)
    servers = max(1, int(placed.sandbox.total_slots * slot_share))
    carriers = [cluster.nodes[k] for k, n in placed.rollout.by_node.items() if n]
    links = sum(t.count for t in carriers)
    link_bytes = min(t.network_gbps for t in carriers) * 1e9 / 8
    others = [
        Station("rollout thread", placed.rollout.actors, Service(thread.trajectory_s, 1.0)),
        Station("network", links, Service(wire / link_bytes, 0.0)),
    ]
    if w.rewards:
        others.append(Station("reward", placed.reward.actors, reward))
    population = w.in_flight * engines.sequences
    burst = calibration.arrival_scv

    cores = shared_cores(w, placed.cores, calibration, tools) if w.paced else None
    calls = Station("tool calls", servers, tools.service, tools.made) if w.calls else None
    network = ClosedQueueNetwork(population, engines.rates(), tuple(others), service, burst, cores, calls)
    rate, without = network.rate(servers), network.rate(None)
    service = network.service_at(rate, servers)
    sandboxes = Station("sandbox", servers, service)
    others += [calls] if calls is not None else []
    if cores is not None:
        others.append(Station("cores", 1, Service(1 / cores.capacity, 0.0)))
    longest = w.verdict_wait_share * generation_s(engines)

    def enough(slots: int) -> bool:
        if network.rate(slots) < ENOUGH * without:
            return False
        held = network.service_at(without, slots)
        waits = [queueing.wait_quantile_s(slots, without, held, arrival_scv=burst)]
        if calls is not None:
            waits.append(queueing.wait_quantile_s(slots, without * tools.made, tools.service, arrival_scv=burst))
        return max(waits) <= longest

    on_average = without * max(service.mean_s, tools.made * tools.service.mean_s)
    needed = _least(math.ceil(on_average), enough)
    gpu_s = sum(g.count for g in engines.groups) / engines.fastest * (placed.rollout.gpus or 1)
    reward_gpu_s = reward.mean_s * placed.reward.gpus
    usd = totals.usd_per_hour(cluster, prices)
    return CapacityPlan(
        cluster=cluster,
        placement=placed,
        workload=w,
        calibration=calibration,
        tree=tree,
        sharing=shared,
        tools=tools,
        fleet=engines,
        thread=thread,
        service=service,
        network=network,
        slot_share=slot_share,
        rate=rate,
        fastest=engines.fastest,
        binding=_binding(rate, engines, [sandboxes, *others]),
        uses=_uses([sandboxes, *others], rate, burst, population - engines.running(rate)),
        slots=placed.sandbox.total_slots,
        slots_average=on_average / slot_share,
        slots_needed=None if needed is None else math.ceil(needed / slot_share),
        reward_share=reward_gpu_s / (gpu_s + reward_gpu_s),
        kept_per_hour=rate * 3600 * w.kept,
        network_gbps=rate * wire * 8 / 1e9,
        totals=totals.totals(w, tree, shared, rate, stored, usd, placed, tools),
        usd_per_hour=usd,
    )


def _cores_for_slots(w: Workload, cluster: Cluster, tools: ToolLoad) -> float:
    """Computes the share of its slots that a sandbox actor's cores can really run: checks and calls compute for
    `cpu_share` of their time. Where both are there, for the one of which a trajectory holds slots longer: with all of
    its slots at work, the other has some of its own in proportion."""
    role = cluster.roles.sandbox
    total = sum(v.share * v.mean_ms for v in w.verifiers) / 1e3
    busy = sum(v.share * v.mean_ms * v.cpu_share for v in w.verifiers) / 1e3 + tools.made * tools.cpu_s
    return min(1.0, role.cpus / (role.slots * busy / max(total, tools.made * tools.service.mean_s)))


def _least(start: int, enough: Callable[[int], bool]) -> int | None:
    """Finds the smallest number from about `start` on for which `enough` (monotone) holds; None beyond 64 times
    that."""
    low, high = max(0, start - 1), max(1, start)
    while not enough(high):
        if high > 64 * (start + 1):
            return None
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


def _binding(rate: float, engines: EngineFleet, stations: list[Station]) -> Binding:
    if rate >= ENOUGH * engines.fastest:
        slowest = engines.groups[0]
        if slowest.engine is None:
            return Binding.PACE
        if slowest.compute_bound:
            return Binding.GPU_COMPUTE
        return Binding.GPU_MEMORY if slowest.limit == "KV memory" else Binding.GPU_BANDWIDTH
    busiest = max(stations, key=lambda s: rate / s.capacity)
    if rate < 0.9 * busiest.capacity:
        return Binding.IN_FLIGHT
    names = {
        "sandbox": Binding.SANDBOX, "tool calls": Binding.CALLS, "reward": Binding.REWARD, "network": Binding.NETWORK,
        "cores": Binding.CORES,
    }  # fmt: skip
    return names.get(busiest.name, Binding.THREADS)


def _uses(stations: list[Station], rate: float, burst: float, elsewhere: float) -> tuple[Use, ...]:
    """Computes how busy stations are. No wait is longer than the `elsewhere` trajectories that are not running
    allow."""
    uses = []
    for s in stations:
        others = sum(o.time_s(min(rate, 0.98 * o.capacity), burst) for o in stations if o is not s)
        most = max(0.0, elsewhere / rate - s.held_s - others) / max(s.visits, 1.0)
        wait = queueing.mean_wait_s(s.servers, s.visits * rate, s.service, burst)
        tail = queueing.wait_quantile_s(s.servers, s.visits * rate, s.service, arrival_scv=burst)
        uses.append(Use(s.name, s.servers, rate / s.capacity, min(wait, most), min(tail, most)))
    return tuple(uses)
