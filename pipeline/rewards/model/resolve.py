"""Resolves a reward model's name to a folder: one that `berry train` wrote, another, an alias or a Hugging Face id.

A folder may be on an object store: it is copied to this host's cache, whole, before it is used.
"""

from __future__ import annotations

from pathlib import Path

from berry.pipeline.config.sections.rewards import NamedReward, Rewards
from berry.pipeline.engines import models
from berry.pipeline.errors import ConfigError
from berry.pipeline.rewards.model.card import NAME, read_card
from berry.pipeline.storage.weight_cache import cached_copy


def resolve(model: str, *, key: str) -> str:
    """A local folder, or a Hugging Face id. Raises ConfigError for a folder that holds no whole model."""
    if "://" in model:
        copy = cached_copy(model, models.cache_folder() / "weights", last=NAME)
        return models.resolve(model, key=key) if copy is None else str(copy)
    path = Path(model).expanduser()
    if not (path / "config.json").is_file() or not (path / NAME).is_file():
        if path.is_dir() and any(path.glob("checkpoint-*")):
            raise ConfigError(f"{key}: {model} is a training that has not ended; run `berry train` again to finish it")
        return models.resolve(model, key=key)
    if not any(path.glob("*.safetensors")):
        raise ConfigError(f"{key}: {model} has no weights (*.safetensors): train it again with `berry train`")
    return str(path.resolve())


def preflight_rewards(rewards: Rewards | None) -> None:
    """Checks the configured reward models before any actor starts. Raises ConfigError, InputError."""
    if rewards is None:
        return
    for name, served in rewards.each.items():
        key = f"{rewards.key_of(name)}.model"
        card = read_card(resolve(served.model, key=key))
        if isinstance(served, NamedReward) and card is not None and card.what != served.what:
            raise ConfigError(
                f"{key}: {served.model} is of the kind {card.what}, not {served.what}: set `what: {card.what}`"
            )
