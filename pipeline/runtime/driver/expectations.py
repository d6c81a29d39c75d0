"""Says before a run starts what is to be expected: what is synthetic, which settings work against each other, which
cores and tools this host lacks. And refuses what can't go well, of which the driver alone knows enough: labels that
rounds can't learn from, problems that have changed since, engines that don't fit into one process.

RunConfig, Survey, Placement ─► say_what_to_expect, say_cores, say_missing_tools ─► Display.note
RunConfig, RunDir            ─► check_labels, check_same_problems, check_same_texts, check_one_process ─► ConfigError
"""

from __future__ import annotations

import os
from typing import Any, cast

from berry.pipeline import cgroup
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.core.assignment.modes import explain_modes
from berry.pipeline.core.placement import Placement
from berry.pipeline.core.prune.reach import explain_reach
from berry.pipeline.core.search import audit
from berry.pipeline.core.search.conflicts import explain_conflicts, explain_no_labels
from berry.pipeline.core.search.registry import search_class
from berry.pipeline.errors import ConfigError
from berry.pipeline.runtime.display import Display
from berry.pipeline.stages.leases.partition import changed_problems
from berry.pipeline.stages.problems.screening import explain_screening
from berry.pipeline.stages.problems.sources import Survey
from berry.pipeline.storage.run.directory import RunDir
from berry.sandboxes.base import Language
from berry.sandboxes.languages import missing_tools
from berry.verifiers.sandbox_limits import pool_config


def say_cores(planned: Placement, display: Display) -> None:
    """Says how many cores this host lets the run use, where that is fewer than it has or than its actors take."""
    have, all_cores = cgroup.cores(), os.cpu_count() or 1
    takes = sum(role.actors * role.cpus for role in planned.roles)
    if have < all_cores or have < takes:
        shared = ", which share them" if have < takes else ""
        display.note(f"note: {have:g} of {all_cores} cores may be used here; the run's actors take {takes:g}{shared}")


def say_missing_tools(config: RunConfig, problems: Survey, display: Display) -> None:
    """Says which programs' languages this host has no tools for: checks that need them are unverifiable."""
    for language, count in sorted(problems.languages.items()):
        lacking = missing_tools(cast("Language", language), pool_config(config.verification).tool_directories)
        if lacking:
            display.note(
                f"note: {count:,} problems are checked by programs in {language}, for which this host lacks "
                f"{', '.join(lacking)}: their responses will be unverifiable, not wrong (`berry sandbox probe` names "
                "the packages)"
            )


def say_what_to_expect(config: RunConfig, problems: Survey, display: Display) -> None:
    if any(one.engine.type == "synthetic" for one in config.each_engine.values()):
        display.note("SYNTHETIC engine: no model stands behind what this run writes")
    if config.screening.files:
        display.note(f"screened: {explain_screening(problems.screening)}")
    if config.annotation is not None:
        return  # policy and pruning have done their part
    if config.rollout.modes:
        display.note(f"modes: {explain_modes(config, problems.count)}")
    for mode, rollout in zip(config.rollout.modes or (None,), config.rollout.each_mode, strict=True):
        where = "note: " if mode is None else f"note: mode {mode.name}: "
        for conflict in explain_conflicts(rollout):
            display.note(f"{where}{conflict}")
        for limit in explain_reach(
            config.pruning,
            search_class(rollout.policy).scheme(rollout),
            problems=problems.count,
            variants=problems.variants,
            lease_problems=config.storage.lease_problems,
        ):
            display.note(f"{where}{limit}")


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
