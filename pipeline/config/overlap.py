"""Checks that a run whose rounds overlap with their trainings has a place for them, and counts the processes.

RunConfig ─► training_processes ─► cluster.roles.train.min, max        ValueError that names the key, and what to write
"""

from __future__ import annotations

from typing import Protocol

from berry.pipeline.config.sections.cluster import Cluster
from berry.pipeline.config.sections.rewards import Rewards, RewardTraining
from berry.pipeline.config.sections.rounds import Rounds


class TrainsInRounds(Protocol):
    """What is looked at of a run's configuration."""

    @property
    def rounds(self) -> Rounds | None: ...
    @property
    def rewards(self) -> Rewards | None: ...
    @property
    def cluster(self) -> Cluster: ...


def training_processes(config: TrainsInRounds) -> int:
    """Most processes that train at once between rounds; 0 where nothing is trained. The generator and reward models
    are trained one after the other."""
    rounds = config.rounds
    if rounds is None or rounds.count == 1:
        return 0
    of_policy = 0 if rounds.policy is None else rounds.policy.processes
    of_rewards = (config.rewards.training if config.rewards else RewardTraining()).processes if rounds.train else 0
    return max(of_policy, of_rewards)


def with_training_role(config: TrainsInRounds, *, site: str | None) -> Cluster:
    """The cluster with as many processes in `roles.train` as train beside a round; none where rounds do not overlap.
    Raises ValueError where they have no place."""
    roles = config.cluster.roles
    overlaps = config.rounds is not None and config.rounds.overlap
    wanted = training_processes(config) if overlaps else 0
    if overlaps and site is not None:
        raise ValueError(
            f"rounds.overlap: a training beside the next round is of one cluster, and storage.site {site!r} shares the "
            "run with others: leave one of them out"
        )
    if roles.train is None:
        if wanted:
            raise ValueError(
                "rounds.overlap needs a place for the training: say in cluster.roles.train what one process takes "
                "(cpus, gpus, labels), for example {cpus: 4, gpus: 1}"
            )
        return config.cluster
    train = roles.train
    if wanted and (train.min not in (0, wanted) or train.max not in (None, wanted)):
        raise ValueError(
            f"cluster.roles.train.min {train.min}, max {train.max}: {wanted} processes train beside a round "
            "(rounds.policy.processes, rewards.training.processes): leave min and max out"
        )
    train = train.model_copy(update={"min": wanted, "max": wanted})
    return config.cluster.model_copy(update={"roles": roles.model_copy(update={"train": train})})
