"""Says before a run starts what is to be expected: what is synthetic, which settings work against each other, which
cores and tools this host lacks.

RunConfig, Survey, Placement ─► say_what_to_expect, say_cores, say_missing_tools ─► Display.note
"""

from __future__ import annotations

import os
from typing import cast

from berry.pipeline import cgroup
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.modes import explain_modes
from berry.pipeline.core.placement import Placement
from berry.pipeline.core.prune.reach import explain_reach
from berry.pipeline.core.search.conflicts import explain_conflicts
from berry.pipeline.core.search.registry import search_class
from berry.pipeline.runtime.display import Display
from berry.pipeline.stages.problems.screening import explain_screening
from berry.pipeline.stages.problems.sources import Survey
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
