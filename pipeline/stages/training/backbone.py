"""Chooses the backbone that a training's settings ask for, and the tokenizer it reads with.

settings, run config ─► choose_backbone ─► Backbone(source, load), Vocabulary
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import HttpEngine, VllmEngine
from berry.pipeline.config.sections.rewards import FreshBackbone, PretrainedBackbone, RewardTraining
from berry.pipeline.engines import models
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.errors import ConfigError

if TYPE_CHECKING:  # torch takes seconds to import
    from berry.pipeline.rewards.model.value_model import ValueModel


FRESH = "fresh"
"""The source of a backbone with random weights."""


@dataclass(frozen=True, slots=True)
class Backbone:
    """A transformer that a value model starts from: where it comes from, and how it is loaded."""

    source: str
    load: Callable[[], ValueModel]


def choose_backbone(
    config: RunConfig, settings: RewardTraining, generator: Vocabulary, *, trained: str | None = None
) -> tuple[Backbone, Vocabulary]:
    """Chooses the backbone that the settings ask for, and the tokenizer it reads with. `trained`: the folder of the
    generator's newest weights, where it has learned something since the run began. Raises ConfigError where the
    generator has no weights here."""
    wanted = settings.backbone
    if wanted is None:
        wanted = PretrainedBackbone() if isinstance(config.engine, VllmEngine | HttpEngine) else FreshBackbone()
    if isinstance(wanted, FreshBackbone):
        reader = vocabulary.for_fresh(generator)

        def make() -> ValueModel:
            from berry.pipeline.rewards.model.loading import fresh

            return fresh(wanted, vocabulary_size=reader.size, seed=settings.seed)

        return Backbone(FRESH, make), reader
    name = wanted.model
    if name == "generator":
        if not isinstance(config.engine, VllmEngine):
            raise ConfigError("backbone.model `generator` needs an engine of type vllm here: name a model instead")
        name = trained or config.engine.model
    folder = models.resolve(name, key="backbone.model")

    def load() -> ValueModel:
        from berry.pipeline.rewards.model.loading import begin

        return begin(folder, dtype=settings.dtype)

    return Backbone(name if trained is None else Path(name).name, load), vocabulary.of_folder(folder)


def check_vocabulary(model: ValueModel, reader: Vocabulary, source: str) -> None:
    """Refuses a tokenizer with more tokens than the model has. Raises ConfigError."""
    if reader.size > model.vocabulary_size:
        raise ConfigError(
            f"backbone {source} has {model.vocabulary_size} tokens, its tokenizer says {reader.size}: they do not "
            "belong together"
        )
