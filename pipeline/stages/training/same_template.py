"""Refuses to learn from trees that were sampled under another chat template than the model has now: what is trained
would be asked in another form than what it has learned from.

StoredTree.template_hash, the engine's template ─► check_template ─► InputError that names both
"""

from __future__ import annotations

from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import InputError
from berry.pipeline.stages.dataset.reading import StoredTree


def template_now(config: RunConfig) -> str | None:
    """The hash of the chat template that the run's model has now; None where there is none, where several engines have
    one each, and of a labelled run, whose engine is not the one that sampled."""
    if config.engines or config.annotation is not None:
        return None
    tokens = vocabulary.of_engine(config.engine).tokens
    return None if tokens is None else tokens.template_hash


def check_template(stored: StoredTree, now: str | None) -> None:
    """Raises InputError where a tree's prompt was rendered by another template. Runs before schema version 3 do not
    say by which, and the synthetic engine has none."""
    if now is None or stored.synthetic or stored.template_hash in (None, "", now):
        return
    raise InputError(
        f"problem {stored.problem_id} of round {stored.round_index} was sampled under another chat template (hash "
        f"{stored.template_hash}) than {stored.model} has now ({now}), and what is trained would be asked in a form "
        "that it has not learned from: restore the model's template (its tokenizer's chat_template, or the file that "
        "engine.chat_template names), or generate again (--run NAME)"
    )
