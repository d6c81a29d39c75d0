"""Begins a run's own classes once in the jail, before an engine starts, so that one that can't work costs no minute.

tools, environment ─► SessionKeeper ─► made for the first problem; an environment has to answer an empty turn too
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.config.sections.rollout.tools import CustomTool, SqlTool
from berry.pipeline.errors import ConfigError
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.sources import iter_problems
from berry.pipeline.stages.tools.environment import WHOLE, environment_seed, read_reply
from berry.pipeline.stages.tools.programs import Loaded, environment_for, limits_of, loaded_for
from berry.sandboxes.base import JobOutcome, SandboxError
from berry.sandboxes.sessions import SessionCall, SessionKeeper, SessionLimits, SessionReply
from berry.verifiers.base import Reason, Verdict
from berry.verifiers.sandbox_limits import pool_config


def check_interaction(config: RunConfig, by_verifier: Mapping[str, int]) -> str | None:
    """Raises ConfigError where the run's own classes, or the problems' kinds, can't work. Returns why nothing could be
    tried here, where this host can't confine programs."""
    rollout = config.rollout
    if rollout.environment is None and "environment" in by_verifier:
        raise ConfigError(
            f"rollout.environment is not set, and {by_verifier['environment']} problems have a verifier of type "
            "environment: nothing would say how their episodes end"
        )
    for one in rollout.each_mode:
        if rollout.environment is None and not any(_is_tried(tool) for tool in one.tools):
            continue
        first = next(iter_problems(config.problems))
        try:
            asyncio.run(_try_all(config, one, first))
        except SandboxError as error:
            return f"tools and environment were not tried before the run: {error}"
    return None


def _is_tried(tool: object) -> bool:
    return isinstance(tool, CustomTool) or (isinstance(tool, SqlTool) and tool.setup is not None)


async def _try_all(config: RunConfig, rollout: Rollout, problem: Problem) -> None:
    keeper = SessionKeeper(pool_config(config.verification), slots=1, sessions=1, profile="bare")
    try:
        await keeper.start()
        for number, tool in enumerate(rollout.tools):
            if isinstance(tool, CustomTool):
                profile, program = loaded_for(tool, problem)
                assert program is not None
                reply = await _ask(keeper, Loaded(profile, replace(program, call="_ready")), limits_of(tool))
                _check_made(reply, f"rollout.tools.{number} ({tool.target})", problem)
            elif isinstance(tool, SqlTool) and tool.setup is not None:
                reply = await _ask(keeper, loaded_for(tool, problem), limits_of(tool), "select 1")
                _check_made(reply, f"rollout.tools.{number} (sql)", problem)
        if rollout.environment is not None:
            environment = rollout.environment
            place = f"rollout.environment ({environment.target})"
            loaded = environment_for(environment, problem, environment_seed(config.seed, 0, problem.id))
            reply = await _ask(keeper, loaded, limits_of(environment))
            _check_made(reply, place, problem)
            answer = None if reply.outcome is not JobOutcome.OK else read_reply(reply.text, environment)
            broken = isinstance(answer, Verdict) and answer.reason is Reason.TESTS_BROKEN
            if reply.outcome is not JobOutcome.OK or broken:
                why = answer.evidence.get("note") if isinstance(answer, Verdict) else reply.text
                raise ConfigError(
                    f"{place} can't answer an empty first turn of problem {problem.id!r}: {why}; it has to answer "
                    "whatever a model says"
                )
    finally:
        await keeper.close()


async def _ask(keeper: SessionKeeper, loaded: Loaded, limits: SessionLimits, text: str = "") -> SessionReply:
    return await keeper.call(SessionCall("preflight", (), text, limits, WHOLE, *loaded, alone=True))


def _check_made(reply: SessionReply, place: str, problem: Problem) -> None:
    if reply.failed:
        raise ConfigError(f"{place} can't be made for problem {problem.id!r}: {reply.text}; correct it or its options")
