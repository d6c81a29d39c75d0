"""Makes the program that a session of each tool has loaded, for one problem.

python ─► none: its sessions run snippets          sql ─► sql_database on the problem's own database
custom ─► the user's class, with the problem and its options          an environment too, with a seed
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.environment import Environment
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.config.sections.rollout.tools import Confined, CustomTool, PythonTool, SqlTool, Tool
from berry.pipeline.config.sections.user_class import UserClass
from berry.pipeline.core.assignment.modes import mode_name
from berry.pipeline.records import Problem
from berry.pipeline.stages.tools import sql_database
from berry.sandboxes.base import Profile
from berry.sandboxes.sessions import SessionLimits, SessionProgram
from berry.verifiers.specs.answers import SqlSpec
from berry.verifiers.specs.base import Spec
from berry.verifiers.specs.union import components

_SQL = inspect.getsource(sql_database)
_TOOL = """

def _begin(problem, options):
    global _tool
    _tool = {name}(problem, **options)

def _ready(_):
    return ""

def _call(arguments):
    import json
    said = _tool.call(**json.loads(arguments))
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=str)
"""


_ENVIRONMENT = """

def _begin(problem, seed, options):
    global _environment
    _environment = {name}(problem, seed, **options)

def _turn(said):
    import json
    reply = _environment.turn(said)
    if isinstance(reply, str):
        reply = {{"content": reply}}
    if isinstance(reply, dict) and "content" in reply:
        reply = {{"role": reply.get("role", "user"), "content": reply["content"]}}
    return json.dumps(reply, sort_keys=True, ensure_ascii=False)
"""


class Loaded(NamedTuple):
    """What a session has loaded: modules, and a program unless it runs snippets."""

    profile: Profile
    program: SessionProgram | None


def loaded_for(tool: Tool, problem: Problem) -> Loaded:
    """What sessions of a tool have loaded for one problem. Raises LookupError where the problem lacks what the tool
    works on; `fault_for` says so before a run."""
    match tool:
        case PythonTool():
            return Loaded("numeric", None)
        case SqlTool():
            spec = _sql_spec(problem.verifier)
            setup, dialect = (tool.setup, tool.dialect) if spec is None else (spec.setup, spec.dialect)
            if setup is None:
                raise LookupError(f"problem {problem.id!r} has no database")
            profile = ("sqlite3",) if dialect == "sqlite" else ("berry.verifiers.duckdb_profile",)
            given = (dialect, setup, tool.access, tool.max_rows)
            return Loaded(profile, SessionProgram(_SQL, "begin", "call", given))
        case CustomTool():
            return user_program(tool, _TOOL, "_call", (as_data(problem), tool.options))


def environment_for(environment: Environment, problem: Problem, seed: int) -> Loaded:
    """What sessions of an environment have loaded for one problem."""
    return user_program(environment, _ENVIRONMENT, "_turn", (as_data(problem), seed, environment.options))


def user_program(made_by: UserClass, glue: str, call: str, given: tuple[Any, ...]) -> Loaded:
    """The session of a user's class; `glue` defines `_begin` and the function `call` around it."""
    source, profile = made_by.source, "bare"
    if not made_by.is_file:
        source, profile = f"from {made_by.module} import {made_by.class_name}", (made_by.module,)
    program = SessionProgram(f"{source}{glue.format(name=made_by.class_name)}", "_begin", call, given)
    return Loaded(profile, program)


def as_data(problem: Problem) -> dict[str, Any]:
    """What the user's class is told of a problem: all but how its answers are checked."""
    return {"id": problem.id, "prompt": problem.text, "meta": json.loads(json.dumps(problem.meta, default=str))}


def limits_of(tool: Confined) -> SessionLimits:
    """The tool's limits in the sandboxes' terms."""
    return SessionLimits(tool.call_wall_s, tool.cpu_s, tool.memory_mb, tool.output_kb)


def is_alone(tool: Tool) -> bool:
    """Whether calls leave nothing behind, so that each has a session of its own."""
    return tool.access == "read" if isinstance(tool, SqlTool) else isinstance(tool, CustomTool) and bool(tool.stateless)


def fault_for(rollout: Rollout) -> Callable[[Problem], str | None] | None:
    """A function that says why the run can do nothing with a problem, in words for its author; None where the run's
    tools work on any."""
    needing = next((tool for tool in rollout.tools if isinstance(tool, SqlTool) and tool.setup is None), None)
    if needing is None:
        return None

    def fault(problem: Problem) -> str | None:
        if _sql_spec(problem.verifier) is not None:
            return None
        return (
            f"tool {needing.name!r} works on the database of a verifier of type sql, and this problem's is of type "
            f"{problem.verifier.type}: give the tool a `setup`"
        )

    return fault


def fault_in_mode(config: RunConfig) -> Callable[[Problem], str | None] | None:
    """As `fault_for`, of each problem by the tools of its mode."""
    if not config.rollout.modes:
        return fault_for(config.rollout)
    faults = {mode.name: fault_for(config.rollout.in_mode(mode.name)) for mode in config.rollout.modes}
    if not any(faults.values()):
        return None

    def fault(problem: Problem) -> str | None:
        of_mode = faults[mode_name(config, problem.id) or ""]
        return None if of_mode is None else of_mode(problem)

    return fault


def _sql_spec(spec: Spec) -> SqlSpec | None:
    """The first verifier of type sql, in combinations too."""
    if isinstance(spec, SqlSpec):
        return spec
    return next((found for part in components(spec) if (found := _sql_spec(part)) is not None), None)
