"""Checks that the engines of a run, its modes and its routing belong together.

RunConfig ─► check_engines ─► ValueError that names the key, what is known, and what to write
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Protocol

from berry.pipeline.config.sections.annotation import Annotation
from berry.pipeline.config.sections.cluster import RolloutRole
from berry.pipeline.config.sections.engine import Recompute
from berry.pipeline.config.sections.engines import NamedEngine
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.config.sections.rounds import Rounds
from berry.pipeline.config.sections.routing import Routing, TeacherRouting


class CheckedRun(Protocol):
    """What is checked of a run's configuration."""

    @property
    def engines(self) -> Mapping[str, NamedEngine]: ...
    @property
    def engine_roles(self) -> Mapping[str, RolloutRole]: ...
    @property
    def routing(self) -> Routing | None: ...
    @property
    def rollout(self) -> Rollout: ...
    @property
    def rounds(self) -> Rounds | None: ...
    @property
    def recompute(self) -> Recompute: ...
    @property
    def annotation(self) -> Annotation | None: ...


def check_engines(config: CheckedRun, *, site: str | None) -> None:
    """Raises ValueError for the first thing that does not fit, of a run with `engines` or `routing`. `site`: see
    `storage`."""
    if not config.engines and not config.rollout.modes:
        raise ValueError("routing: there is nothing to choose from: name several `engines`, or several `rollout.modes`")
    if config.routing is not None and config.routing.type == "teacher":
        _check_teacher(config, config.routing)
    if config.engines:
        _check_who_completes(config)
        _check_modes(config)
        _check_what_knows_one_engine(config, site)
    _check_routes(config)
    if config.routing is not None and config.routing.type == "escalate" and site is not None:
        raise ValueError(
            "routing of type escalate needs the run directory for one driver, which counts what goes on: leave "
            "storage.site out"
        )


def _check_modes(config: CheckedRun) -> None:
    names = list(config.engines)
    if not config.rollout.modes:
        raise ValueError(
            f"engines: nothing says which of {', '.join(names)} takes which problem: give a `routing`, for example "
            f"{{type: escalate, order: [{', '.join(names)}]}}, or `rollout.modes` with an `engine` each"
        )
    for number, mode in enumerate(config.rollout.modes):
        if mode.engine is None:
            raise ValueError(
                f"rollout.modes.{number}: {mode.name!r} is none of `engines` ({', '.join(names)})"
                f"{_nearest(mode.name, names)}; name one of them, or set the mode's `engine`"
            )
        if mode.engine not in config.engines:
            raise ValueError(
                f"rollout.modes.{number}.engine {mode.engine!r} is none of `engines` ({', '.join(names)})"
                f"{_nearest(mode.engine, names)}"
            )
    for name, role in config.engine_roles.items():
        if len(names) > 1 and role.gpus and role.max is None:
            raise ValueError(
                f"engines.{name}.role: say how many of its actors share the GPUs with other engines: set max"
            )
    labels = {_teacher(config), None if config.annotation is None else config.annotation.engine}
    used = labels | {mode.engine for mode in config.rollout.modes}
    idle = next((name for name in names if name not in used), None)
    if idle is not None:
        raise ValueError(f"engines.{idle}: no mode and no route leads to it: leave it out")


def _check_routes(config: CheckedRun) -> None:
    """Every route leads to a mode, and every mode has one."""
    known = [mode.name for mode in config.rollout.modes]
    for mode in config.rollout.modes if not config.engines else ():
        if mode.engine is not None:
            raise ValueError(
                f"rollout.modes: {mode.name!r} names the engine {mode.engine!r}, and there are no `engines`"
            )
    if config.routing is None:
        return
    routed = config.routing.names
    for name in routed:
        if name not in known:
            what = "mode or engine" if config.engines else "mode"
            raise ValueError(f"routing: {name!r} is no {what} of this run ({', '.join(known)}){_nearest(name, known)}")
    without = next((name for name in known if name not in routed), None)
    if without is not None:
        raise ValueError(f"routing: no route leads to {without!r}: name it there, or leave it out")
    if config.routing.type != "share" and not all(mode.all for mode in config.rollout.modes):
        raise ValueError(f"routing of type {config.routing.type} chooses the modes: leave their shares out")


def _check_what_knows_one_engine(config: CheckedRun, site: str | None) -> None:
    """Refuses what was made for one model."""
    for what, is_used in {
        "rounds with more than one round": config.rounds is not None and config.rounds.count > 1,
        "rounds.policy": config.rounds is not None and config.rounds.policy is not None,
        "recompute.share": config.recompute.share > 0,
        "storage.site": site is not None,
    }.items():
        if is_used:
            raise ValueError(f"engines: {what} knows one model, and this run has several engines: leave it out")


def _check_who_completes(config: CheckedRun) -> None:
    """Of several engines one is named that labels."""
    names = ", ".join(config.engines)
    if config.annotation is not None and config.annotation.engine is None:
        raise ValueError(f"annotation.engine: say which of {names} completes: berry annotate RUN --engine NAME")
    if config.annotation is not None and config.annotation.engine not in config.engines:
        raise ValueError(
            f"annotation.engine: {config.annotation.engine!r} is none of `engines` ({names}); name one of them, or say "
            f"what it is: engines.{config.annotation.engine}={{type: vllm, model: …}}"
        )


def _teacher(config: CheckedRun) -> str | None:
    return config.routing.teacher if config.routing is not None and config.routing.type == "teacher" else None


def _check_teacher(config: CheckedRun, routing: TeacherRouting) -> None:
    """The teacher is an engine of its own, which can go on from what another model began."""
    names, teacher = list(config.engines), routing.teacher
    if teacher not in config.engines:
        raise ValueError(
            f"routing.teacher: {teacher!r} is none of `engines` ({', '.join(names)}){_nearest(teacher, names)}"
        )
    mode = next((mode.name for mode in config.rollout.modes if mode.engine == teacher), None)
    if mode is not None:
        raise ValueError(
            f"routing.teacher: {teacher!r} is the engine of the mode {mode!r} too: a model that labels its own steps "
            "does so by rollout.policy {type: shepherd}, or by berry annotate; name another engine"
        )
    for name, engine in config.engines.items():
        if engine.type == "http" and engine.dialect == "chat":
            raise ValueError(
                f"routing of type teacher: engines.{name} has dialect chat, which gives whole samples as text and goes "
                "on from no prefix: use a server of dialect vllm or sglang"
            )
    if any(rollout.is_interactive for rollout in config.rollout.each_mode):
        raise ValueError(
            "routing of type teacher can't complete the steps of a run with rollout.tools or rollout.environment: the "
            "calls before a step would have to be made again"
        )


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
