"""Divides a GPU's memory among the engines and reward models that share it.

    roles' fractions of a GPU, number of reward models, stated shares ─► GpuShares     sums too large ─► ValueError

An engine takes its share when it starts and keeps it, so two that were promised the same bytes can't both start.
"""

from __future__ import annotations

from dataclasses import dataclass

from berry.pipeline.config.sections.cluster import Roles
from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.config.sections.rewards import Rewards

USED = 0.9  # of what a role reserves; the rest is for what vLLM does not count
BESIDE_AN_ENGINE = 0.15  # of what the rollout role reserves, for each reward model in the engine's own process
MOST = 0.95


@dataclass(frozen=True, slots=True)
class GpuShares:
    """Shares of one GPU's memory: of the engine, and of each reward model."""

    engine: float
    reward: float


def gpu_shares(engine: VllmEngine, roles: Roles, rewards: Rewards | None, models: int) -> GpuShares:
    """`models`: reward models that the run serves, those it trains included. Raises ValueError where stated shares do
    not fit into what the roles reserve."""
    of_engine, of_reward = _fraction(roles.rollout.gpus), _fraction(roles.reward.gpus)
    is_beside = models > 0 and not has_reward_actors(roles)
    if is_beside:
        reward = BESIDE_AN_ENGINE * of_engine
    else:
        reward = USED * of_reward / max(models, 1)
    taken = models * reward if is_beside else 0.0
    share = engine.gpu_memory_utilization
    shares = GpuShares(USED * of_engine - taken if share is None else share, reward)
    served = [] if rewards is None else list(rewards.each.values())
    stated = [float(r.extra["gpu_memory_utilization"]) for r in served if "gpu_memory_utilization" in r.extra]
    of_models = sum(stated) + (models - len(stated)) * reward
    _check(
        shares.engine + (of_models if is_beside else 0.0),
        of_engine,
        f"engine.gpu_memory_utilization {shares.engine:.2f}"
        + (f" and {of_models:.2f} for {models} reward models beside it" if is_beside else ""),
        "cluster.roles.rollout.gpus",
    )
    if models and not is_beside:
        _check(of_models, of_reward, f"{models} reward models with {of_models:.2f}", "cluster.roles.reward.gpus")
    return shares


def has_reward_actors(roles: Roles) -> bool:
    """Whether reward models have actors of their own; else they live in the engines' processes."""
    role = roles.reward
    return bool(role.min or role.max or role.per_node)


def _fraction(gpus: float) -> float:
    """Of one GPU; an engine over several takes the same share of each."""
    return gpus if 0 < gpus < 1 else 1.0


def _check(wanted: float, reserved: float, who: str, key: str) -> None:
    if wanted > MOST * reserved + 1e-9:
        raise ValueError(
            f"{who} of a GPU's memory are more than {MOST:g} of what {key} {reserved:g} reserves: lower the shares, or "
            "reserve more"
        )
