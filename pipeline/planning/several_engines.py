"""Plans a run of several engines: what goes on from one to the next, each on actors of its own, all of them at once.

workloads by mode ─► going_on (problems of each mode) ─► cluster_of (its engine's actors) ─► capacity.plan
                 ─► together: the run takes as long as its slowest engine, or what all of them share
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from berry.pipeline.config.plan import PlanConfig, Workload
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.cluster import Cluster, RolloutRole
from berry.pipeline.config.sections.routing import EscalateRouting, TeacherRouting
from berry.pipeline.core.placement import place_actors
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.planning.capacity import CapacityPlan
from berry.pipeline.planning.formulas.passing import share_at_most
from berry.pipeline.planning.modes import Sum, summed
from berry.pipeline.planning.tree_shape import depth_steps, shape_of

TOGETHER_NOTE = (
    "engines run at once, the modes of one engine one after another; of answers that are no independent samples fewer "
    "problems are solved than said"
)


PlannedMode = tuple[str | None, PlanConfig]


def going_on(config: RunConfig, planned: Sequence[PlannedMode]) -> list[PlannedMode]:
    """The plans of a run's modes with what reaches each of them, where they go on from one to the next; of a teacher
    with the steps that it completes."""
    routing = config.routing
    if isinstance(routing, TeacherRouting):
        return list(_with_teacher(routing, planned))
    if not isinstance(routing, EscalateRouting):
        return list(planned)
    by_mode = {mode: plan for mode, plan in planned if mode is not None}
    reaching = float(by_mode[routing.order[0]].workload.problems)
    done: dict[str, PlanConfig] = {}
    for mode in routing.order:
        plan = by_mode[mode]
        workload = plan.workload.model_copy(update={"problems": max(1, round(reaching))})
        done[mode] = plan.model_copy(update={"workload": workload})
        reaching *= share_at_most(workload, routing.at_most)
        if routing.max_problems is not None:
            reaching = min(reaching, routing.max_problems)
    return [(mode, done[mode]) for mode in routing.order]


def _with_teacher(routing: TeacherRouting, planned: Sequence[PlannedMode]) -> Iterator[PlannedMode]:
    """The plans of the student and the teacher: of all chosen trajectories each step but the last is completed, at its
    end, `completions` times, by as much on average as is left behind half of them."""
    of_student = next(plan.workload for mode, plan in planned if mode == routing.student)
    made = shape_of(of_student).leaves
    share = {"kept": of_student.kept, "dropped": 1 - of_student.kept, "all": 1.0}
    chosen = min(made, float(routing.of)) if isinstance(routing.of, int) else made * share[routing.of]
    steps = depth_steps(of_student)
    completed = math.log2(steps) if routing.method == "omega" and steps > 1 else steps - 1
    for mode, plan in planned:
        if mode != routing.teacher:
            yield mode, plan
            continue
        drawn = max(1, round(chosen * completed * routing.completions))
        half = of_student.output_tokens / 2
        workload = plan.workload.model_copy(
            update={
                "problems": of_student.problems,
                "policy": BestOfN(n=drawn),
                "prompt_tokens": of_student.prompt_tokens + half,
                "output_tokens": half,
                "output_scv": of_student.output_scv,
                "kept_share": 0.0,
            }
        )
        yield mode, plan.model_copy(update={"workload": workload})


def cluster_of(engine: str, cluster: Cluster, roles: Mapping[str, RolloutRole]) -> Cluster:
    """A cluster as one of several engines has it: its own actors, and the sandbox actors that all share. Raises
    ConfigError where not all of them fit."""
    placed = place_actors(cluster, roles)
    own, sandboxes = placed.engines[engine].actors, placed.sandbox.actors
    rollout = roles[engine].model_copy(update={"min": own, "max": own})
    sandbox = cluster.roles.sandbox.model_copy(update={"min": sandboxes, "max": sandboxes})
    of_roles = cluster.roles.model_copy(update={"rollout": rollout, "sandbox": sandbox})
    return cluster.model_copy(update={"roles": of_roles, "ratio": "auto"})


@dataclass(frozen=True, slots=True)
class ModePlan:
    """The plan of one mode on its engine."""

    mode: str
    engine: str
    plan: CapacityPlan


def together(config: RunConfig, plans: Sequence[ModePlan]) -> Sum:
    """What the whole run comes to on one cluster, and what binds it: an engine, by its name, or what engines share."""
    engine_hours: dict[str, float] = {}
    shared_hours: dict[str, float] = {}
    for one in plans:
        hours = one.plan.totals.hours
        engine_hours[one.engine] = engine_hours.get(one.engine, 0.0) + hours
        for use in one.plan.uses:
            if use.name != "rollout thread":  # an engine's own
                shared_hours[use.name] = shared_hours.get(use.name, 0.0) + use.busy * hours
    slowest, longest = max(engine_hours, key=engine_hours.__getitem__), max(shared_hours, key=shared_hours.__getitem__)
    hours = max(engine_hours[slowest], shared_hours[longest])
    if hours > engine_hours[slowest]:
        binds = f"{longest}, which all engines share"
    else:
        last = next(one.plan for one in plans if one.engine == slowest)
        idle = ", ".join(f"{name} {1 - its / hours:.0%}" for name, its in engine_hours.items() if name != slowest)
        binds = f"{slowest}: {last.binding.value}" + (f" (idle: {idle})" if idle else "")
    every = [one.plan for one in plans]
    usd = every[0].usd_per_hour
    return replace(
        summed(every),
        hours=hours,
        gpu_hours=hours * every[0].placement.gpus,
        usd=None if usd is None else usd * hours,
        binds=binds,
        solved=solved(config, [(one.mode, one.plan.workload) for one in plans]),
    )


def solved(config: RunConfig, workloads: Sequence[tuple[str, Workload]]) -> float | None:
    """Problems of which some answer passes, of a run whose problems go through its modes one after the other; None of
    another."""
    routing = config.routing
    if not isinstance(routing, EscalateRouting):
        return None
    of_mode = dict(workloads)
    count, share_unsolved = 0.0, 1.0  # of the problems that reach a mode
    for mode in routing.order:
        workload = of_mode[mode]
        never = share_at_most(workload, 0.0)
        count += workload.problems * share_unsolved * (1 - never)
        goes_on = share_at_most(workload, routing.at_most)
        share_unsolved = share_unsolved * never / goes_on if goes_on else 0.0
    return count
