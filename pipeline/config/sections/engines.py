"""Configures several engines of one run by name, each with the actors that hold it.

engines: {small: {type: vllm, model: …, role: {gpus: 1, max: 4}}, large: {…}}
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from berry.pipeline.config.sections.cluster import RolloutRole
from berry.pipeline.config.sections.engine import EngineConfig, HttpEngine, VllmEngine
from berry.pipeline.config.sections.synthetic import SyntheticEngine

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class NamedVllm(VllmEngine):
    """vLLM, as one of several engines."""

    role: RolloutRole | None = None
    """What its actors take, how many there may be, and on nodes with which labels; null: as `cluster.roles.rollout`."""


class NamedHttp(HttpEngine):
    """Servers elsewhere, as one of several engines."""

    role: RolloutRole | None = None
    """As for vllm."""


class NamedSynthetic(SyntheticEngine):
    """The synthetic process, as one of several engines."""

    role: RolloutRole | None = None
    """As for vllm."""


NamedEngine = Annotated[NamedVllm | NamedHttp | NamedSynthetic, Field(discriminator="type")]
EngineName = Annotated[str, Field(pattern=NAME, max_length=40)]


def without_role(engine: NamedEngine) -> EngineConfig:
    """The engine's own section, without what its actors take."""
    kind = next(kind for kind in (VllmEngine, HttpEngine, SyntheticEngine) if isinstance(engine, kind))
    return kind.model_validate(engine.model_dump(exclude={"role"}))


FIRST_OF_SEVERAL = SyntheticEngine()
"""Stands for `engine` in a configuration that names `engines`, until they are read."""
