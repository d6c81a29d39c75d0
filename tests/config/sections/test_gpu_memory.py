"""What shares a GPU is promised no more of its memory than there is, before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from berry.pipeline.config.run import RunConfig


def run(
    *, rollout: float, reward: dict[str, Any] | None = None, models: int = 0, share: float | None = None, **more: Any
) -> RunConfig:
    served = {"model": "tiny-arithmetic", **more}
    return RunConfig.model_validate(
        {
            "name": "t",
            "problems": [{"type": "arithmetic", "count": 1}],
            "engine": {"type": "vllm", "model": "tiny-arithmetic", "gpu_memory_utilization": share},
            "rewards": dict(list({"prm": served, "orm": served}.items())[:models]),
            "cluster": {
                "nodes": {"gpu": {"gpus": 8, "cores": 64}},
                "roles": {"rollout": {"gpus": rollout}, "reward": reward or {}},
            },
        }
    )


@pytest.mark.parametrize(
    ("rollout", "reward", "models", "engine", "each"),
    [
        (1, None, 0, 0.9, 0.9),
        (0.5, None, 0, 0.45, 0.9),  # two engines a GPU
        (1, {"min": 1, "gpus": 1}, 2, 0.9, 0.45),  # two models in an actor with a GPU of its own
        (0.7, {"min": 1, "gpus": 0.3}, 1, 0.63, 0.27),  # an engine and a model on one GPU
        (1, None, 2, 0.6, 0.15),  # both models in the engine's own process
    ],
)
def test_shares_follow_from_roles_and_models(
    rollout: float, reward: dict[str, Any] | None, models: int, engine: float, each: float
) -> None:
    shares = run(rollout=rollout, reward=reward, models=models).gpu_shares
    assert shares is not None
    assert (shares.engine, shares.reward) == (pytest.approx(engine), pytest.approx(each))


def test_without_gpus_nothing_is_shared_out() -> None:
    assert run(rollout=0, models=2).gpu_shares is None


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"rollout": 0.5, "share": 0.9}, r"engine\.gpu_memory_utilization 0\.90 .*rollout\.gpus 0\.5 reserves"),
        ({"rollout": 1, "models": 2, "share": 0.9}, r"0\.30 for 2 reward models beside it"),
        (
            {"rollout": 1, "models": 2, "reward": {"min": 1, "gpus": 1}, "extra": {"gpu_memory_utilization": 0.6}},
            r"2 reward models with 1\.20 .*reward\.gpus 1 reserves",
        ),
    ],
)
def test_more_than_there_is_is_refused_before_the_start(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        run(**asked)
