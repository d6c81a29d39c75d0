"""Configures which of several models takes which problem.

    share   a problem, by its id ─► one mode       source    a problem, by its `source` ─► one mode
    all     a problem ─► every mode                escalate  the first mode; what it does not solve ─► the next
    teacher a problem ─► the student; the steps of its solutions ─► the teacher, whose completions label them

A route names modes. Where the run has none, each engine of `engines` is one, under its own name.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.annotation import Annotation, Completing
from berry.pipeline.config.sections.rollout.modes import SUM_TOLERANCE


class ShareRouting(Section):
    """Each problem goes to one engine, drawn by its id and `seed`."""

    type: Literal["share"] = "share"
    shares: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1)
    """Share of the problems that each takes; they sum to 1."""

    @field_validator("shares")
    @classmethod
    def _sum_to_one(cls, shares: dict[str, float]) -> dict[str, float]:
        total = math.fsum(shares.values())
        if abs(total - 1) > SUM_TOLERANCE:
            listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
            raise ValueError(f"must sum to 1, they sum to {total:g} ({listed})")
        return shares

    @property
    def names(self) -> tuple[str, ...]:
        """The modes that it routes to, in order."""
        return tuple(self.shares)


class SourceRouting(Section):
    """Each problem goes where its `source` says."""

    type: Literal["source"] = "source"
    sources: dict[str, str] = Field(min_length=1)
    """The mode, or engine, of the problems of each `source`."""
    otherwise: str | None = None
    """That of problems of any other source; null: such a problem is refused before the run starts."""

    @property
    def names(self) -> tuple[str, ...]:
        """The modes that it routes to, in order."""
        return tuple(dict.fromkeys((*self.sources.values(), *((self.otherwise,) if self.otherwise else ()))))


class AllRouting(Section):
    """Each problem goes to every one: a tree for each."""

    type: Literal["all"] = "all"
    modes: tuple[str, ...] = Field(min_length=1)
    """The modes, or engines."""

    @field_validator("modes")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return named_once(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The modes that it routes to, in order."""
        return self.modes


class EscalateRouting(Section):
    """Each problem goes to the first; those that it solves too rarely, or never, go to the next (a cascade; Chen et al.
    2023, FrugalGPT)."""

    type: Literal["escalate"] = "escalate"
    order: tuple[str, ...] = Field(min_length=2)
    """The modes, or engines, from the first to the last."""
    at_most: float = Field(default=0.0, ge=0, lt=1)
    """A problem goes on where no more than this share of its answers pass, of those that could be checked. 0: where
    none does."""
    max_problems: int | None = Field(default=None, ge=0)
    """Most problems that go on from each to the next, in the order of the problems; null: no limit. With a limit the
    next waits for the leases before the one it takes, so that a resumed run chooses the same."""

    @field_validator("order")
    @classmethod
    def _once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return named_once(names)

    @property
    def names(self) -> tuple[str, ...]:
        """The modes that it routes to, in order."""
        return self.order


class TeacherRouting(Completing):
    """Each problem goes to the student; another engine, the teacher, completes the steps of its solutions while the run
    goes on, and how often its completions pass are the steps' labels (docs/models.md)."""

    type: Literal["teacher"] = "teacher"
    student: str
    """The mode, or engine, that solves the problems."""
    teacher: str
    """The engine that completes; no mode has it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The modes that it routes to, in order."""
        return (self.student,)

    @property
    def annotation(self) -> Annotation:
        """What the teacher labels, as `berry annotate` would be told it."""
        chosen = {key: getattr(self, key) for key in Completing.model_fields}
        return Annotation(engine=self.teacher, **chosen)


def named_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names. Raises ValueError where one is there twice."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"names {twice!r} twice")
    return names


Routing = Annotated[
    ShareRouting | SourceRouting | AllRouting | EscalateRouting | TeacherRouting, Field(discriminator="type")
]


def routed_modes(raw: Any) -> Any:
    """Gives a run's raw configuration the modes that its engines and its routing ask for, before anything is checked. A
    stored configuration has them, and reads the same."""
    if not isinstance(raw, dict) or not (raw.get("engines") or raw.get("routing")):
        return raw
    engines, routing = raw.get("engines") or {}, raw.get("routing")
    rollout = raw.get("rollout")
    rollout = rollout.model_dump() if isinstance(rollout, Section) else {} if rollout is None else rollout
    routing = routing.model_dump() if isinstance(routing, Section) else routing
    if not (isinstance(engines, dict) and isinstance(rollout, dict) and isinstance(routing, dict | None)):
        return raw
    modes = rollout.get("modes") or _one_an_engine(engines, routing or {})
    if isinstance(modes, (list, tuple)):
        modes = [_completed(mode, engines, routing or {}) for mode in modes]
    return {**raw, "rollout": {**rollout, "modes": modes}}


def _one_an_engine(engines: dict[str, Any], routing: dict[str, Any]) -> list[dict[str, Any]]:
    """A mode for each engine, as the routing shares problems out."""
    if not routing:
        return [{"name": name, "share": 1.0} for name in engines] if len(engines) == 1 else []
    if routing.get("type") == "teacher":
        return [{"name": routing.get("student"), "all": True}]
    if routing.get("type") != "share":
        return [{"name": name, "all": True} for name in engines]
    shares = routing.get("shares")
    return [{"name": n, "share": share} for n, share in shares.items()] if isinstance(shares, dict) else []


def _completed(mode: Any, engines: dict[str, Any], routing: dict[str, Any]) -> Any:
    if not isinstance(mode, dict):
        return mode
    whole, name = dict(mode), mode.get("name")
    if whole.get("engine") is None and name in engines:
        whole["engine"] = name
    shares = routing.get("shares")
    if routing.get("type") == "share" and isinstance(shares, dict) and name in shares:
        whole.setdefault("share", shares[name])
    elif routing and not whole.get("all") and whole.get("share") is None:
        whole["all"] = True
    return whole
