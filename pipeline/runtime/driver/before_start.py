"""What is refused before a run starts, of which its driver alone knows enough: labels that rounds can't learn from,
problems that have changed since, engines that don't fit into one process."""

from __future__ import annotations

from typing import Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.core.search import audit
from berry.pipeline.core.search.conflicts import explain_no_labels
from berry.pipeline.errors import ConfigError
from berry.pipeline.stages.leases.partition import changed_problems
from berry.pipeline.stages.problems.sources import Survey
from berry.pipeline.storage.run.directory import RunDir


def check_labels(config: RunConfig) -> None:
    """Raises ConfigError where rounds would refuse what they are to train a PRM on."""
    learns = config.rounds is not None and config.rounds.count > 1 and "prm" in config.rounds.train
    if not learns or config.annotation is not None:
        return
    training = RewardTraining() if config.rewards is None else config.rewards.training
    missing = [explain_no_labels(rollout, training.labels) for rollout in config.rollout.each_mode]
    if all(missing):
        raise ConfigError(f"rounds.train: a PRM can't learn from this run's trees: {missing[0]}")
    least = training.min_visits
    if least > 1 and audit.prunes(config.rollout):
        raise ConfigError(
            f"rewards.training.min_visits = {least}, but rollout ({config.rollout.policy.type}) cuts branches: how "
            "many continuations are left says how good a step looked, and a PRM would learn values that are too high; "
            "leave it at 1"
        )


def check_same_problems(source: RunDir, made_with: dict[str, Any]) -> None:
    """Raises ConfigError where the problems are not those that the labelled run was made of."""
    then, now = source.versions().get("problems"), made_with["problems"]
    if then is not None and then != now:
        raise ConfigError(
            f"{source.location.show()}: the problems have changed since this run ({then['count']} then, {now['count']} "
            "now, or other ids); restore the files, or name where they are now (problems.0.path=…)"
        )


def check_same_texts(run: RunDir, config: RunConfig, problems: Survey) -> None:
    """Raises ConfigError where problems of the same ids are other ones now: one run's trees would answer both."""
    changed = changed_problems(run, config, problems.asked)
    if changed is not None:
        raise ConfigError(
            f"{run.location.show()}: since this run began the problem files have changed {changed.explain()}; restore "
            "them, or use --fork NAME"
        )


def check_one_process(config: RunConfig) -> None:
    """Raises ConfigError where the engines of a run can't be in one process."""
    of_vllm = [name for name, one in config.each_engine.items() if one.engine.type == "vllm"]
    if len(of_vllm) > 1:
        raise ConfigError(
            f"engines: {', '.join(of_vllm)} are vLLM's, and --local is one process, which holds one of them: run it on "
            "Ray (without --local)"
        )
