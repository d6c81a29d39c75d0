"""Says which mode a problem goes to first, and which of them go on to the next: rules alone, without files or workers.

    Problem ─► first_modes ─► its lease ─► passed, checked ─► goes_on ─► the next mode's lease (within `allowed`)

Leases of a run that escalates are numbered in steps: lease k·S + s holds what of the problems of lease k·S + s - 1 goes
on to mode s of S; it may hold none. So the content of each follows from the committed lease before it, and from nothing
else.
"""

from __future__ import annotations

from collections.abc import Sequence

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.routing import EscalateRouting, Routing, SourceRouting, TeacherRouting
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.records import Problem


def first_modes(config: RunConfig, problem: Problem) -> Sequence[str]:
    """The modes that a problem is searched in whatever comes of it, in order. Raises ProblemFileError for a source
    that no route is given for."""
    match config.routing:
        case EscalateRouting(order=order):
            return order[:1]
        case SourceRouting(sources=sources, otherwise=otherwise):
            name = sources.get(problem.source, otherwise)
            if name is None:
                raise ProblemFileError(
                    f"problem {problem.id!r}: its source {problem.source!r} has no route: add it to routing.sources "
                    f"({', '.join(sources)}), or set routing.otherwise"
                )
            return (name,)
        case _:
            return [mode.name for mode in config.rollout.modes]


def order_of(config: RunConfig) -> tuple[str, ...]:
    """The modes that problems go through one after the other; empty where none goes on to another."""
    return config.routing.order if isinstance(config.routing, EscalateRouting) else ()


def steps_of(config: RunConfig) -> int:
    """Leases that each piece of the problems makes: one for each mode that it may go through."""
    return max(1, len(order_of(config)))


def goes_on(config: RunConfig, mode: str | None, *, passed: int, checked: int) -> bool:
    """Whether a problem goes on to the mode after `mode`: `passed` of the `checked` answers that could be told right
    from wrong. One of which no answer could be checked stays: that it is hard is not known."""
    routing = config.routing
    if not isinstance(routing, EscalateRouting) or mode is None or mode == routing.order[-1] or checked == 0:
        return False
    return passed <= routing.at_most * checked


def allowed(routing: EscalateRouting, asked: Sequence[str], taken: int) -> Sequence[str]:
    """Those of the problems `asked` that may go on where `taken` of the leases before did, in their order."""
    if routing.max_problems is None:
        return asked
    return asked[: max(0, routing.max_problems - taken)]


def explain_routing(routing: Routing, trees: int) -> str:
    """The rule in one line, of a run that begins with so many trees."""
    match routing:
        case EscalateRouting(order=order, at_most=at_most, max_problems=most):
            which = (
                "that it never solves" if at_most == 0 else f"that it solves in at most {at_most:.0%} of its answers"
            )
            limit = "" if most is None else f", at most {most:,} from each to the next"
            return f"{trees:,} problems go to {order[0]}, those {which} on to {', then '.join(order[1:])}{limit}"
        case TeacherRouting(student=student, teacher=teacher, of=of, completions=k):
            which = f"{of} trajectories a problem" if isinstance(of, int) else f"{of} trajectories"
            return f"{trees:,} problems go to {student}; {teacher} completes each step of {which} {k} times, as labels"
        case SourceRouting(sources=sources, otherwise=otherwise):
            routes = [f"{source} to {name}" for source, name in sources.items()]
            return ", ".join([*routes, *([f"others to {otherwise}"] if otherwise else [])]) + f": {trees:,} problems"
        case _:
            return f"{', '.join(routing.names)}: {trees:,} trees"
