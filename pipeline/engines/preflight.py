"""Checks, before anything is started, that every engine of a run can do what the run asks of it.

RunConfig ─► check_each_engine ─► model, device or servers; template arguments; tool turns
engines of a run, and the one that labels it ─► check_completes ─► one tokenizer, or texts
"""

from __future__ import annotations

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import EngineConfig
from berry.pipeline.engines.build import preflight
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.engines.text.template_args import check_template_args
from berry.pipeline.engines.text.vocabulary import check_tool_turns
from berry.pipeline.errors import ConfigError


def check_each_engine(config: RunConfig) -> None:
    """Raises ConfigError or ResourceError for what would fail later. Starts nothing."""
    for name, alone in config.each_started.items():
        try:
            preflight(alone.engine, role_gpus=alone.cluster.roles.rollout.gpus)
            check_template_args(alone)
            for one in alone.each_mode:
                check_tool_turns(one.engine, one.rollout)
        except ConfigError as error:
            raise ConfigError(f"engines.{name}: {error}" if name else str(error)) from error


def check_completes(made: RunConfig, labelling: RunConfig) -> None:
    """Raises ConfigError where the engine that is to complete for labels can't go on from what the engines of `made`
    sampled."""
    assert labelling.annotation is not None
    name = labelling.annotation.engine or ""
    completes = labelling.on_engine(name).engine
    if labelling.annotation.prefixes == "text":
        if "synthetic" in {completes.type, *(alone.engine.type for alone in made.each_generator.values())}:
            raise ConfigError(
                "prefixes: text is for models with tokenizers, and an engine of type synthetic has none: use ids"
            )
        return
    key = f"engines.{name}" if name else "engine"
    for alone in made.each_generator.values():
        check_reads_ids_of(alone.engine, completes, key=key)


def check_reads_ids_of(made_by: EngineConfig, completes: EngineConfig, *, key: str = "engine") -> None:
    """Raises ConfigError where an engine is to complete token ids that another one made, and its tokenizer gives them
    another meaning."""
    if completes == made_by or vocabulary.of_engine(completes).fingerprint == vocabulary.of_engine(made_by).fingerprint:
        return
    raise ConfigError(
        f"{key}: {_called(completes)} has another tokenizer than {_called(made_by)}, which made this run, and "
        "prefixes are completed as token ids: name a model with the same tokenizer, such as a larger one of its "
        "family, or have them tokenised again (routing.prefixes: text; berry annotate --prefixes text)"
    )


def _called(engine: EngineConfig) -> str:
    return getattr(engine, "model", engine.type)
