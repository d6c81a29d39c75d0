"""Describes the cluster a run uses: what its nodes have, and what each kind of actor takes of them.

    nodes (GPUs, cores, labels, count) + roles (what an actor takes) + ratio ─► place_actors() ─► Placement

Only sections here; which actor fits where is worked out in `pipeline/core/placement.py`. Accelerators that are not GPUs
(Trainium) are counted as GPUs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.reading.loading import read_yaml, validate
from berry.pipeline.config.reading.shipped import shipped

Labels = dict[str, str]


class NodeType(Section):
    """One kind of machine. Cores are physical cores over all sockets."""

    count: int = Field(default=1, ge=1, le=100_000)
    """Machines of this kind."""
    gpus: int = Field(default=0, ge=0, le=1024)
    """Accelerators a machine."""
    cpu_sockets: int = Field(default=1, ge=1, le=64)
    """CPUs (packages) a machine: the second number of a GPU:CPU ratio such as 8:2."""
    cores: float = Field(gt=0, le=4096)
    """Physical cores a machine, over all its sockets."""
    threads_per_core: int = Field(default=1, ge=1, le=8)
    """Hardware threads a physical core: 2 where simultaneous multithreading is on. Kubernetes counts CPUs in threads,
    so a pod's limit is cores times this."""
    reserved_cores: float = Field(default=0, ge=0)
    """Cores a machine that no actor may take: operating system, Ray, object store."""
    memory_gib: float | None = Field(default=None, gt=0)
    """Host memory a machine, in GiB; None: not checked."""
    accelerator: str | None = None
    """Sheet in configs/hardware/ of its accelerators; without GPUs, of the cores that run the engine."""
    cpu: str | None = None
    """Sheet in configs/hardware/ of its CPUs."""
    network_gbps: float = Field(default=10, gt=0)
    """Network towards storage and other nodes, in Gbit/s a machine and direction."""
    usd_per_hour: float | None = Field(default=None, ge=0)
    """Price of one machine; None: from the price sheet, by accelerator or core."""
    labels: Labels = Field(default_factory=dict)
    """Ray node labels; a role with the same labels is pinned here."""

    @model_validator(mode="after")
    def _leaves_cores(self) -> NodeType:
        if self.reserved_cores >= self.cores:
            raise ValueError(f"reserved_cores {self.reserved_cores:g} leaves none of {self.cores:g} cores")
        return self

    @property
    def usable_cores(self) -> float:
        """Cores a machine that actors may take."""
        return self.cores - self.reserved_cores


class Role(Section):
    """What one actor takes, how many there may be, and where."""

    gpus: float = Field(default=0, ge=0)
    """GPUs an actor: a whole number, or a fraction below 1 to share one."""
    cpus: float = Field(default=1, ge=0)
    """Cores an actor."""
    memory_gib: float = Field(default=0, ge=0)
    """Host memory an actor, in GiB; checked where the node states its own."""
    min: int = Field(default=0, ge=0)
    """Actors without which the run does not start."""
    max: int | None = Field(default=None, ge=0)
    """Most actors; None: as many as the cluster holds."""
    per_node: int | None = Field(default=None, ge=1)
    """Most actors on one machine."""
    labels: Labels = Field(default_factory=dict)
    """Only on nodes that carry all these labels."""

    @property
    def spread(self) -> int:
        """Nodes that one actor is spread over."""
        return 1

    @model_validator(mode="after")
    def _consistent(self) -> Role:
        if self.max is not None and self.max < self.min:
            raise ValueError(f"max {self.max} is below min {self.min}")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"gpus {self.gpus:g}: above 1 only whole GPUs, below 1 any fraction")
        return self


class RolloutRole(Role):
    """A rollout actor: one engine. Without GPUs and without `max` there are `min` of them."""

    min: int = Field(default=1, ge=1)
    """Engines without which the run does not start."""
    cpus: float = Field(default=1, gt=0)
    """Cores an engine, its search and its rows take."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that each layer of a model is split over."""
    pipeline_parallel: int = Field(default=1, ge=1)
    """Stages of layers that a model is cut into, one after the other, each on `tensor_parallel` GPUs."""
    nodes: int = Field(default=1, ge=1)
    """Nodes that one engine is spread over; each gives as many of its GPUs. Stages lie whole on a node, or one stage
    takes several nodes."""

    @property
    def spread(self) -> int:
        return self.nodes

    @property
    def parts(self) -> int:
        """GPUs that one model is split over."""
        return self.tensor_parallel * self.pipeline_parallel

    @model_validator(mode="after")
    def _gpus_follow(self) -> RolloutRole:
        stages = f" × pipeline_parallel {self.pipeline_parallel}" if self.pipeline_parallel > 1 else ""
        if self.parts > 1 and self.gpus != self.parts:
            raise ValueError(
                f"tensor_parallel {self.tensor_parallel}{stages} needs gpus: {self.parts}, got {self.gpus:g}"
            )
        if self.gpus > 1 and self.gpus != self.parts:
            raise ValueError(
                f"gpus {self.gpus:g} with tensor_parallel 1 leaves {self.gpus - 1:g} GPUs unused: "
                f"set tensor_parallel: {self.gpus:g}, or gpus: 1"
            )
        if self.nodes > 1:
            self._check_nodes(stages)
        return self

    def _check_nodes(self, stages: str) -> None:
        if self.parts % self.nodes:
            raise ValueError(
                f"nodes {self.nodes} must divide the {self.parts} GPUs of tensor_parallel "
                f"{self.tensor_parallel}{stages}: every node gives as many"
            )
        if self.pipeline_parallel % self.nodes and self.nodes % self.pipeline_parallel:
            raise ValueError(
                f"nodes {self.nodes} with pipeline_parallel {self.pipeline_parallel} cuts a stage between nodes: set "
                f"pipeline_parallel: {self.nodes}, or nodes to a divisor or a multiple of it"
            )


class RewardRole(Role):
    """A reward actor: one PRM or ORM. Without `max` there are `per_node` on each node, or `min` in all."""


class SandboxRole(Role):
    """A sandbox actor: a pool of sandboxes that shares its `cpus`."""

    min: int = Field(default=1, ge=1)
    """Sandbox actors without which the run does not start."""
    cpus: float = Field(default=1, gt=0)
    """Cores that the slots of an actor share."""
    slots: int = Field(default=2, ge=1, le=4096)
    """Checks an actor runs at once."""

    @model_validator(mode="after")
    def _no_gpus(self) -> SandboxRole:
        if self.gpus:
            raise ValueError(f"gpus {self.gpus:g}: sandboxes run on cores and take no GPU; leave it out")
        return self


class TrainRole(Role):
    """A process that trains while the next round generates (`rounds.overlap`). `min` and `max` follow from the
    `processes` of the training."""

    @model_validator(mode="after")
    def _one_gpu(self) -> TrainRole:
        if self.gpus not in (0, 1):
            raise ValueError(f"gpus {self.gpus:g}: a process trains on one GPU, or on cores: 1 or 0")
        if self.cpus <= 0:
            raise ValueError("cpus 0: a process that trains takes a core at least")
        return self


class Roles(Section):
    """What each kind of actor takes."""

    rollout: RolloutRole = RolloutRole()
    """Engines."""
    reward: RewardRole = RewardRole()
    """Reward models."""
    sandbox: SandboxRole = SandboxRole()
    """Pools of sandboxes."""
    train: TrainRole | None = None
    """Processes that train while the next round generates; without `rounds.overlap` they are not there."""


class Autoscaling(Section):
    """When `ratio: auto` grows and shrinks the sandbox slots at run time."""

    tick_s: float = Field(default=2.0, gt=0, le=3600)
    """Time between two looks, in s."""
    grow_at: float = Field(default=0.01, gt=0, lt=1)
    """Share of engine capacity idle because verdicts are awaited, from which on slots are added."""
    shrink_at: float = Field(default=0.35, gt=0, lt=1)
    """Share of slots idle from which on some are taken away."""
    grow_ticks: int = Field(default=2, ge=1)
    """Looks in a row that must say grow."""
    shrink_ticks: int = Field(default=15, ge=1)
    """Looks in a row that must say shrink."""
    remember_ticks: int = Field(default=300, ge=0)
    """Looks for which a number of slots that was too few is not gone back to."""


class Cluster(Section):
    """Nodes, roles and the ratio between sandboxes and GPUs. Shipped ones are in configs/clusters/."""

    name: str = "local"
    """Name shown in plans."""
    nodes: dict[str, NodeType] = Field(default_factory=lambda: {"laptop": NodeType(cores=2)}, min_length=1)
    """Node types by name."""
    roles: Roles = Roles()
    """What each kind of actor takes, and how many there may be."""
    ratio: Literal["auto"] | float = "auto"
    """Sandbox slots for each rollout GPU (each rollout actor where engines have no GPU). `auto`: as many
    as fit, then grown and shrunk at run time from measured waits, within roles.sandbox.min and max."""
    balance: Autoscaling = Autoscaling()
    """When sandbox slots are added and taken away."""

    @model_validator(mode="after")
    def _checks(self) -> Cluster:
        if self.ratio != "auto" and not 0 < self.ratio <= 100_000:
            raise ValueError(f"ratio must be `auto` or a number above 0 and up to 100000, got {self.ratio:g}")
        return self


def named_cluster(name: str, base: Path | None = None) -> Cluster:
    """The cluster of a shipped file (`hgx-h100`) or of a YAML path relative to `base`. Raises ConfigError."""
    path = shipped("clusters", name, base)
    return validate({"name": path.stem, **read_yaml(path)}, Cluster, where=str(path))
