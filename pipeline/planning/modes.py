"""Plans a run whose problems are searched in several modes: a workload for each, and what they add up to.

RunConfig ─► workloads ─► a plan a mode (capacity.plan) ─► summed ─► the whole run
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from berry.pipeline.config.plan import Workload
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.modes import in_modes, mode_name
from berry.pipeline.core.assignment.routing import order_of
from berry.pipeline.planning.capacity import CapacityPlan
from berry.pipeline.planning.runs import workload_of
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.screening import screen
from berry.pipeline.stages.problems.sources import iter_problems

SUM_NOTE = (
    "modes are planned as though they ran one after another: where different things bind, together they are faster"
)
_COMPLETED = "completions as long as half a trajectory of the student's, from the ends of all its steps but the last"


@dataclass(frozen=True, slots=True)
class ModeWorkload:
    """What one mode asks of a run, and what had to be assumed; `mode` is None where the run has no modes."""

    mode: str | None
    workload: Workload
    assumed: list[str]


def workloads(config: RunConfig) -> list[ModeWorkload]:
    """The workloads of a run, one for each mode in which problems are searched, and one of the teacher's name, which
    completes; of those that problems go on to as though all did. Reads all problems. Raises ConfigError."""
    if not config.rollout.modes:
        return [ModeWorkload(None, *workload_of(config))]
    counts: dict[str, dict[str, int]] = {mode.name: {} for mode in config.rollout.modes}
    of_first = counts[order_of(config)[0]] if order_of(config) else {}
    taught = config.labelling
    for problem in _searched(config):
        of_mode = counts[mode_name(config, problem.id) or ""]
        of_mode[problem.verifier.type] = of_mode.get(problem.verifier.type, 0) + 1
    found = [
        ModeWorkload(name, *workload_of(config.in_mode(name), by_verifier or of_first))
        for name, by_verifier in counts.items()
        if by_verifier or of_first
    ]
    if taught is not None and taught.annotation is not None:  # what it completes follows from the student's
        name, (student,) = taught.annotation.engine or "", counts.values()
        found.append(ModeWorkload(name, workload_of(config.on_engine(name), student)[0], [_COMPLETED]))
    return found


def _searched(config: RunConfig) -> Iterator[Problem]:
    """Every problem that is not screened out, as it is searched."""
    screened = screen(config.screening)
    for problem in iter_problems(config.problems):
        if not screened.leaves_out(problem.id, problem.text):
            yield from in_modes(config, problem)


@dataclass(frozen=True, slots=True)
class Sum:
    """What all modes of a run come to: `usd` is None where something has no price. Of a run with several engines,
    `binds`: what it waits for; `solved`: problems of which some answer passes, where problems go on from one to another
    (planning/several_engines.py)."""

    trajectories: float
    tokens: float
    flop: float
    storage_bytes: float
    hours: float
    gpu_hours: float
    usd: float | None
    binds: str | None = None
    solved: float | None = None


def summed(plans: Sequence[CapacityPlan]) -> Sum:
    """Adds up the plans of a run's modes on one cluster."""
    every = [plan.totals for plan in plans]
    costs = [one.usd for one in every if one.usd is not None]
    return Sum(
        trajectories=sum(one.trajectories for one in every),
        tokens=sum(one.tokens for one in every),
        flop=sum(one.flop for one in every),
        storage_bytes=sum(one.storage_bytes for one in every),
        hours=sum(one.hours for one in every),
        gpu_hours=sum(one.gpu_hours for one in every),
        usd=sum(costs) if len(costs) == len(every) else None,
    )
