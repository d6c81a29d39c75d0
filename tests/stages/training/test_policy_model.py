"""What leaves the generator as it was is said, and no weights are published."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import InputError
from berry.pipeline.stages.training.policy_model import PolicyJob, train_generator
from berry.pipeline.storage.run.directory import RunDir


def _config(**policy: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "r",
            "problems": [{"type": "arithmetic", "count": 4}],
            "engine": {"type": "vllm", "model": "tiny-arithmetic"},
            "rounds": {"count": 2, "policy": policy},
        }
    )


def _train(run: RunDir, config: RunConfig, train: Callable[..., Any]) -> Any:
    return train_generator(run, config, 0, "tiny-arithmetic", "round=0/weights/policy", lambda *_: None, train=train)


def _never(job: PolicyJob, progress: Any) -> Any:
    raise AssertionError(f"{job} is not to be trained, {progress} not to be told")


def test_too_few_trajectories_train_nothing(stored_run: Callable[..., RunDir]) -> None:
    run = stored_run(count=4)
    said = _train(run, _config(min_kept=5000), _never)
    assert "stays as it was" in said
    assert "are fewer than rounds.policy.min_kept" in said
    assert not run.location.names("round=0/weights/policy")


@pytest.mark.parametrize("why", ["the loss of step 3 is nan", "the ratios of step 3 have exploded"])
def test_a_step_that_went_astray_publishes_nothing(stored_run: Callable[..., RunDir], why: str) -> None:
    run = stored_run(count=4)

    def astray(job: PolicyJob, progress: Any) -> Any:
        del job, progress
        raise InputError(why)

    assert _train(run, _config(min_kept=1), astray) == f"the generator stays as it was: {why}"
    assert not run.location.names("round=0/weights/policy")
