"""Has models trained in as many processes as the configuration says: in this one, or in several on Ray.

policy_trainer ─► PolicyJob ─┬─► processes = 1: here
reward_trainer ─► RewardJob ─┴─► more, or beside a round on Ray: cluster/train_together.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from berry.pipeline.config.sections.cluster import TrainRole
from berry.pipeline.stages.training import policy_model, reward_model
from berry.pipeline.stages.training.policy_model import PolicyJob, TrainPolicy
from berry.pipeline.stages.training.reward_data import JobProgress
from berry.pipeline.stages.training.reward_model import RewardJob, TrainReward
from berry.pipeline.storage.run.directory import RunDir


def policy_trainer(run: RunDir, address: str | None, takes: TrainRole | None = None) -> TrainPolicy:
    """Trains the generator of a run. `address`: of the Ray cluster, None where one is started for the training;
    `takes`: what a process takes of it that trains beside the run's actors, None where these have ended."""

    def train(job: PolicyJob, progress: JobProgress) -> Any:
        if job.settings.processes == 1 and takes is None:
            return policy_model.train_policy(job, progress)
        found = _together(policy_model.train_policy_share, job, run, "rounds.policy", address, takes, progress)
        return policy_model.figures_of(found)

    return train


def reward_trainer(run: RunDir, address: str | None, takes: TrainRole | None = None) -> TrainReward:
    """Trains a reward model of a run. `address`, `takes`: as of `policy_trainer`."""

    def train(job: RewardJob, progress: JobProgress) -> Any:
        if job.settings.processes == 1 and takes is None:
            return reward_model.train_value_model(job, progress)
        found = _together(reward_model.train_value_model_share, job, run, "rewards.training", address, takes, progress)
        return reward_model.trained_of(found)

    return train


def _together(
    train: Any,
    job: PolicyJob | RewardJob,
    run: RunDir,
    section: str,
    address: str | None,
    takes: TrainRole | None,
    progress: JobProgress,
) -> dict[str, Any]:
    from berry.pipeline.runtime.cluster.train_together import train_together

    return train_together(
        train,
        job,
        work=Path(job.work),
        processes=job.settings.processes,
        key=f"{section}.processes",
        address=address,
        shared=run.location.is_local,
        progress=progress,
        takes=takes,
    )
