"""Says in which mode a problem is searched, and as which problem, by its id, the run's seed and the configuration.

    shares   problem p1 ─► a number in [0, 1) drawn by (seed, p1) ─► one mode; the tree is p1's
    all      problem p1 ─► p1@NAME for each mode: a problem of its own to leases, journals, seeds, records and rates
    routed   problem p1 ─► p1@NAME for the mode, or modes, that the routing gives it to (routing.py)

So no lease, journal or resumption knows of modes, and no pass rate is one of several modes. A problem in one of several
modes is of the family of the problem, by which splits go.
"""

from __future__ import annotations

from collections.abc import Iterator

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.modes import Mode
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core import seeds
from berry.pipeline.core.assignment import routing
from berry.pipeline.records import Problem

AT = "@"
"""Between the id of a problem and the name of the mode that it is searched in, where that is one of several."""


def in_modes(config: RunConfig, problem: Problem) -> Iterator[Problem]:
    """The problem as it is searched: once in each mode that it goes to at once where ids name modes, else as it is.
    Raises ProblemFileError where no route leads anywhere."""
    if not splits_problems(config):
        yield problem
        return
    for name in routing.first_modes(config, problem):
        yield in_mode(problem, name)


def in_mode(problem: Problem, name: str) -> Problem:
    """The problem as it is searched in a mode, where its id names the mode."""
    return problem.renamed(f"{problem.id}{AT}{name}", variant_of=problem.variant_of or problem.id)


def splits_problems(config: RunConfig) -> bool:
    """Whether problems are searched under ids that name the mode: where each is, or may be, searched in several."""
    modes = config.rollout.modes
    return len(modes) > 1 and modes[0].all


def mode_of(config: RunConfig, problem_id: str) -> Mode | None:
    """The mode that a problem is searched in, by its id as leases and records have it; None without modes."""
    modes = config.rollout.modes
    if not modes:
        return None
    if splits_problems(config):
        name = problem_id.rpartition(AT)[2]
        found = next((mode for mode in modes if mode.name == name), None)
        if found is None:
            raise KeyError(f"{problem_id!r} is no problem in a mode of this run")
        return found
    drawn, below = seeds.share("mode", config.seed, problem_id), 0.0
    for mode in modes:
        below += mode.share or 0.0
        if drawn < below:
            return mode
    return modes[-1]


def engine_of(config: RunConfig, problem_id: str) -> str:
    """The one of `engines` that a problem is searched on; "" where the run has one engine."""
    mode = mode_of(config, problem_id) if config.engines else None
    return "" if mode is None or mode.engine is None else mode.engine


def given_id(problem_id: str, mode: str | None) -> str:
    """The id under which a problem was given, of one that is searched in `mode`."""
    return problem_id if mode is None else problem_id.removesuffix(f"{AT}{mode}")


def rollout_of(config: RunConfig, problem_id: str) -> Rollout:
    """How a problem is searched, in its mode where there are modes."""
    mode = mode_of(config, problem_id)
    return config.rollout if mode is None else config.rollout.in_mode(mode.name)


def mode_name(config: RunConfig, problem_id: str) -> str | None:
    """The name of a problem's mode, as records say it."""
    mode = mode_of(config, problem_id)
    return None if mode is None else mode.name


def template_args_of(config: RunConfig, problem: Problem) -> dict[str, object]:
    """What the chat template is given for a problem beside the engine's own arguments: of its source, then its mode."""
    mode = mode_of(config, problem.id)
    return {**problem.template_args, **(mode.template_args if mode is not None else {})}


def tree_share(config: RunConfig, mode: Mode) -> float:
    """Share of the run's trees that are grown in a mode, of those whose modes are drawn or all."""
    return 1 / len(config.rollout.modes) if mode.all else mode.share or 0.0


def explain_modes(config: RunConfig, trees: int) -> str:
    """The modes of a run of so many trees, in one line."""
    modes = config.rollout.modes
    if config.routing is not None and config.routing.type in ("escalate", "source", "teacher"):
        return routing.explain_routing(config.routing, trees)
    if modes[0].all:
        names = ", ".join(mode.name for mode in modes)
        return f"{names}: each of {trees // len(modes):,} problems is searched in every one, {trees:,} trees"
    shares = ", ".join(f"{mode.name} {mode.share:.0%}" for mode in modes)
    return f"{shares} of {trees:,} problems, drawn by their ids"
