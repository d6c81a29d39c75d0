"""Works out which actors fit a cluster, and where, by arithmetic alone: before any resource is taken.

    Cluster ─► minimum of every role ─► reward to max ─► rollout to max ─► sandboxes to the ratio ─► Placement

Rollouts and sandboxes are dealt round the nodes, so that verdicts can be had beside the engine; reward actors
are packed, so that they break up as few nodes as possible. A fraction of a GPU is a fraction of one GPU.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from berry.pipeline.config.sections.cluster import Cluster, NodeType, Role, RolloutRole
from berry.pipeline.errors import ConfigError

_EPS = 1e-9
_ROLLOUT = "rollout:"  # before the engine's name, of the role of its actors


@dataclass(frozen=True, slots=True)
class RolePlacement:
    """Actors of one role, or of one engine of several (`engine`): `actors` to start with, between `min_actors` and
    `max_actors` (what fits beside the other roles) later; each takes `gpus`, `cpus` cores, and has `slots` (1 where the
    role has none); `by_node` is actors for each node type. `nodes`: machines that one engine is spread over, in
    `stages` of layers; it counts with the node type of its first machine."""

    role: str
    actors: int
    min_actors: int
    max_actors: int
    gpus: float
    cpus: float
    slots: int
    labels: dict[str, str]
    by_node: dict[str, int]
    engine: str = ""
    nodes: int = 1
    stages: int = 1

    @property
    def total_slots(self) -> int:
        """Sandbox slots of all actors of the role."""
        return self.actors * self.slots


@dataclass(frozen=True, slots=True)
class NodePlacement:
    """What one machine holds, and the GPUs and cores that stay free on it. `rollout`: engines, or parts of engines that
    are spread over several machines."""

    node_type: str
    index: int
    rollout: int
    reward: int
    sandbox: int
    gpus_free: float
    cores_free: float


@dataclass(frozen=True, slots=True)
class Placement:
    """The whole cluster. `gpus` and `cores` (usable ones) are totals. `engines`: the rollout actors of each engine by
    its name, "" where there is one; `rollout`: all of them, with the means of what one takes. `train`: processes that
    train beside a round; None where none do."""

    cluster: str
    rollout: RolePlacement
    reward: RolePlacement
    sandbox: RolePlacement
    nodes: tuple[NodePlacement, ...]
    gpus: int
    cores: float
    cpu_sockets: int
    tensor_parallel: int
    engines: dict[str, RolePlacement] = field(default_factory=dict)
    train: RolePlacement | None = None

    @property
    def roles(self) -> tuple[RolePlacement, ...]:
        """Each role once."""
        return tuple(role for role in (self.rollout, self.reward, self.sandbox, self.train) if role is not None)

    @property
    def rollout_units(self) -> float:
        """Rollout GPUs, or rollout actors where engines have no GPU: what the ratio is counted against."""
        return sum(one.actors * (one.gpus or 1) for one in self.engines.values())

    @property
    def slots_per_gpu(self) -> float:
        """Sandbox slots for each rollout GPU (or engine): the ratio that results."""
        return self.sandbox.total_slots / self.rollout_units

    @property
    def cores_free(self) -> float:
        """Cores of all nodes that no role takes."""
        return sum(n.cores_free for n in self.nodes)


@dataclass(slots=True)
class _Free:
    """One machine while it is being filled."""

    kind: str
    index: int
    labels: dict[str, str]
    cores: float
    memory_gib: float
    whole_gpus: int
    shared_gpus: list[float] = field(default_factory=list)
    held: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    led: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # engines whose first machine this is

    def copy(self) -> _Free:
        """The same, to be filled apart from this one."""
        return replace(
            self,
            shared_gpus=list(self.shared_gpus),
            held=defaultdict(int, self.held),
            led=defaultdict(int, self.led),
        )

    def take(self, name: str, role: Role) -> bool:
        """Puts one actor here if it fits."""
        full = role.per_node is not None and self.held[name] >= role.per_node
        if full or not role.labels.items() <= self.labels.items():
            return False
        if role.cpus > self.cores + _EPS or role.memory_gib > self.memory_gib + _EPS:
            return False
        if not self._take_gpus(role.gpus):
            return False
        self.cores -= role.cpus
        self.memory_gib -= role.memory_gib
        self.held[name] += 1
        return True

    def give_back(self, name: str, role: Role) -> None:
        """Undoes a `take` of whole GPUs."""
        self.cores += role.cpus
        self.memory_gib += role.memory_gib
        self.whole_gpus += int(role.gpus)
        self.held[name] -= 1

    def _take_gpus(self, gpus: float) -> bool:
        if gpus >= 1 or gpus == 0:
            if gpus > self.whole_gpus:
                return False
            self.whole_gpus -= int(gpus)
            return True
        tightest = min(
            (i for i, left in enumerate(self.shared_gpus) if left + _EPS >= gpus),
            key=lambda i: self.shared_gpus[i],
            default=None,
        )
        if tightest is not None:
            self.shared_gpus[tightest] -= gpus
            return True
        if self.whole_gpus == 0:
            return False
        self.whole_gpus -= 1
        self.shared_gpus.append(1 - gpus)
        return True


def place_actors(cluster: Cluster, engines: Mapping[str, RolloutRole] | None = None) -> Placement:
    """Places the actors that `cluster` holds: of one engine, or of each of `engines`, by name. Raises ConfigError that
    says what fits, with the arithmetic."""
    roles, engines = cluster.roles, engines or {"": cluster.roles.rollout}
    of_engine = {name: f"{_ROLLOUT}{name}" for name in engines}
    by_name: dict[str, Role] = {of_engine[name]: role for name, role in engines.items()}
    by_name |= {"reward": roles.reward, "sandbox": roles.sandbox}
    if roles.train is not None and roles.train.min:
        by_name["train"] = roles.train
    for name, role in by_name.items():
        if role.min or role.max:
            _check_some_node(cluster, name, role)
    machines = [
        _Free(kind, i, dict(t.labels), t.usable_cores, t.memory_gib or math.inf, t.gpus)
        for kind, t in cluster.nodes.items()
        for i in range(t.count)
    ]
    for name in by_name:
        placed = _place(machines, name, by_name[name], by_name[name].min)
        if placed < by_name[name].min:
            raise ConfigError(_too_many(cluster, name, by_name[name], placed))
    _place(machines, "reward", roles.reward, _reward_max(cluster) - roles.reward.min)
    for name, role in engines.items():
        most = role.min if role.max is None and role.gpus == 0 else role.max
        _place(machines, of_engine[name], role, None if most is None else most - role.min)
    units = sum(
        _actors(m, of_engine[name], role) * (role.gpus or 1) for m in machines for name, role in engines.items()
    )
    return _freeze(cluster, machines, by_name, _sandboxes(cluster, machines, units))


def _reward_max(cluster: Cluster) -> int:
    role = cluster.roles.reward
    if role.max is not None:
        return role.max
    if role.per_node is None:
        return role.min
    pinned = (t for t in cluster.nodes.values() if role.labels.items() <= t.labels.items())
    able = (t for t in pinned if t.gpus >= role.gpus and t.usable_cores >= role.cpus)
    return max(role.min, role.per_node * sum(t.count for t in able))


def _sandboxes(cluster: Cluster, machines: list[_Free], units: float) -> int:
    """Places sandbox actors up to the ratio; the answer is how many the cluster could hold."""
    role, ratio = cluster.roles.sandbox, cluster.ratio
    held = role.min
    if ratio == "auto":
        return held + _place(machines, "sandbox", role, None if role.max is None else role.max - held)
    wanted = math.ceil(ratio * units / role.slots - _EPS)
    if wanted < role.min or (role.max is not None and wanted > role.max):
        bound = f"min {role.min}" if wanted < role.min else f"max {role.max}"
        raise ConfigError(
            f"cluster.ratio {ratio:g} × {units:g} rollout GPUs is {wanted} sandbox actors of {role.slots} "
            f"slots, but roles.sandbox.{bound}: change one of them"
        )
    fits = held + _place(machines, "sandbox", role, wanted - held)
    if fits < wanted:
        free = sum(m.cores for m in machines)
        raise ConfigError(
            f"cluster.ratio {ratio:g}: {ratio:g} slots × {units:g} rollout GPUs = {wanted} sandbox actors of "
            f"{role.slots} slots and {role.cpus:g} cores, but {fits} fit ({fits * role.slots} slots; "
            f"{free:g} cores stay free). Set ratio to at most {fits * role.slots / units:g}, "
            f"lower roles.sandbox.cpus, or add nodes"
        )
    spare = [m.copy() for m in machines]
    room = None if role.max is None else role.max - wanted
    return wanted + _place(spare, "sandbox", role, room)


def _place(machines: list[_Free], name: str, role: Role, n: int | None) -> int:
    """Places up to n actors (None: all that fit); the answer is how many were."""
    if role.spread > 1:
        return _place_over_nodes(machines, name, role, n)
    placed, open_machines = 0, list(machines)
    while open_machines and (n is None or placed < n):
        still_open = []
        for m in open_machines:
            while (n is None or placed < n) and m.take(name, role):
                placed += 1
                if name != "reward":
                    still_open.append(m)
                    break
        open_machines = still_open
    return placed


def _place_over_nodes(machines: list[_Free], name: str, role: Role, n: int | None) -> int:
    """Places up to n engines that are spread over `role.spread` machines each, one kind of machine for one engine where
    there are enough of a kind; the answer is how many were."""
    part, placed = part_of(role), 0
    kinds = [[m for m in machines if m.kind == kind] for kind in dict.fromkeys(m.kind for m in machines)]
    while n is None or placed < n:
        for candidates in [*kinds, machines]:
            taken: list[_Free] = []
            for m in candidates:
                if len(taken) < role.spread and m.take(name, part):
                    taken.append(m)
            if len(taken) == role.spread:
                taken[0].led[name] += 1
                placed += 1
                break
            for m in taken:
                m.give_back(name, part)
        else:
            return placed
    return placed


def part_of(role: Role) -> Role:
    """What an actor that is spread over several nodes takes of each."""
    return role.model_copy(
        update={
            "gpus": role.gpus / role.spread,
            "cpus": role.cpus / role.spread,
            "memory_gib": role.memory_gib / role.spread,
        }
    )


def _actors(machine: _Free, name: str, role: Role) -> int:
    """Actors of a role that are counted with this machine."""
    return machine.led[name] if role.spread > 1 else machine.held[name]


def _check_some_node(cluster: Cluster, name: str, role: Role) -> None:
    pinned = {k: t for k, t in cluster.nodes.items() if role.labels.items() <= t.labels.items()}
    if not pinned:
        have = "; ".join(f"{k}: {t.labels or 'no labels'}" for k, t in cluster.nodes.items())
        raise ConfigError(f"{_key(name)}.labels {role.labels} match no node type. There are {have}")
    part = part_of(role)
    if sum(t.count for t in pinned.values() if _fits_empty(part, t)) >= role.spread:
        return
    have = "; ".join(f"{k} has {_has(t)}" for k, t in pinned.items())
    what = f"{part.gpus:g} GPUs, {part.cpus:g} cores" + (f", {part.memory_gib:g} GiB" if part.memory_gib else "")
    if role.spread > 1:
        counted = "; ".join(f"{t.count} × {k} with {_has(t)}" for k, t in pinned.items())
        raise ConfigError(
            f"{_key(name)}.nodes {role.spread}: one engine takes {what} on each of {role.spread} nodes, and there are "
            f"not as many that hold that: {counted}"
        )
    most = max(t.gpus for t in pinned.values())
    if isinstance(role, RolloutRole) and role.parts > max(1, most):
        nodes = math.ceil(role.parts / most) if most else 0
        spread = f", or nodes {nodes} with as many stages (pipeline_parallel)" if nodes else ""
        raise ConfigError(
            f"{_key(name)}.tensor_parallel {role.tensor_parallel}"
            + (f" × pipeline_parallel {role.pipeline_parallel}" if role.pipeline_parallel > 1 else "")
            + f" is more GPUs than one node has ({have}): at most {most}{spread}"
        )
    raise ConfigError(f"{_key(name)}: one actor takes {what}, and no node holds that: {have}")


def _key(name: str) -> str:
    """The configuration's key of a role, or of the role of one of several engines."""
    engine = name.removeprefix(_ROLLOUT)
    if name.startswith(_ROLLOUT):
        return f"engines.{engine}.role" if engine else "cluster.roles.rollout"
    return f"cluster.roles.{name}"


def _fits_empty(role: Role, t: NodeType) -> bool:
    memory = t.memory_gib or math.inf
    return role.gpus <= t.gpus and role.cpus <= t.usable_cores and role.memory_gib <= memory


def _has(t: NodeType) -> str:
    memory = f", {t.memory_gib:g} GiB" if t.memory_gib else ""
    reserved = f" ({t.cores:g} less {t.reserved_cores:g} reserved)" if t.reserved_cores else ""
    return f"{t.gpus} GPUs, {t.usable_cores:g} cores{reserved}{memory}"


def _too_many(cluster: Cluster, name: str, role: Role, placed: int) -> str:
    nodes = "; ".join(f"{t.count} × {k} with {_has(t)}" for k, t in cluster.nodes.items())
    before = "" if name == _ROLLOUT else " beside the minimum of the other roles"
    remedy = f"Set min to at most {placed}"
    if name == "train":
        remedy = f"Lower rounds.policy.processes and rewards.training.processes to {placed}"
        remedy = remedy if placed else "Set rounds.overlap: false"
    return (
        f"{_key(name)}.min {role.min}: {role.min} × ({role.gpus:g} GPUs, {role.cpus:g} cores) = "
        f"{role.min * role.gpus:g} GPUs, {role.min * role.cpus:g} cores, but {placed} fit{before} on "
        f"{nodes}. {remedy}, let each take less, or add nodes"
    )


def _freeze(cluster: Cluster, machines: list[_Free], roles: dict[str, Role], most_sandboxes: int) -> Placement:
    def of(name: str) -> RolePlacement:
        role = roles[name]
        by_node = {k: sum(_actors(m, name, role) for m in machines if m.kind == k) for k in cluster.nodes}
        actors = sum(by_node.values())
        most = most_sandboxes if name == "sandbox" else actors
        slots = cluster.roles.sandbox.slots if name == "sandbox" else 1
        engine = name.removeprefix(_ROLLOUT) if name.startswith(_ROLLOUT) else ""
        name = "rollout" if name.startswith(_ROLLOUT) else name
        labels = dict(role.labels)
        stages = role.pipeline_parallel if isinstance(role, RolloutRole) else 1
        return RolePlacement(
            name, actors, role.min, most, role.gpus, role.cpus, slots, labels, by_node, engine, role.spread, stages
        )

    engines = {name.removeprefix(_ROLLOUT): of(name) for name in roles if name.startswith(_ROLLOUT)}

    nodes = tuple(
        NodePlacement(
            m.kind,
            m.index,
            sum(count for name, count in m.held.items() if name.startswith(_ROLLOUT)),
            m.held["reward"],
            m.held["sandbox"],
            m.whole_gpus + sum(m.shared_gpus),
            m.cores,
        )
        for m in machines
    )
    kinds = cluster.nodes.values()
    return Placement(
        cluster=cluster.name,
        rollout=_together(list(engines.values())),
        reward=of("reward"),
        sandbox=of("sandbox"),
        nodes=nodes,
        gpus=sum(t.gpus * t.count for t in kinds),
        cores=sum(t.usable_cores * t.count for t in kinds),
        cpu_sockets=sum(t.cpu_sockets * t.count for t in kinds),
        tensor_parallel=cluster.roles.rollout.tensor_parallel,
        engines=engines,
        train=of("train") if "train" in roles else None,
    )


def _together(engines: list[RolePlacement]) -> RolePlacement:
    """The actors of all engines as one role, with the means of what one takes."""
    if len(engines) == 1:
        return engines[0]
    actors = sum(one.actors for one in engines)
    return RolePlacement(
        role="rollout",
        actors=actors,
        min_actors=sum(one.min_actors for one in engines),
        max_actors=sum(one.max_actors for one in engines),
        gpus=sum(one.actors * one.gpus for one in engines) / actors,
        cpus=sum(one.actors * one.cpus for one in engines) / actors,
        slots=1,
        labels={},
        by_node={kind: sum(one.by_node[kind] for one in engines) for kind in engines[0].by_node},
    )
