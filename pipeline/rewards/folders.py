"""Where a reward model's weights are: a folder that `berry train` wrote, another, an alias or a Hugging Face id."""

from __future__ import annotations

from pathlib import Path

from pipeline.engines import models
from pipeline.errors import ConfigError
from pipeline.rewards.card import NAME


def resolve(model: str, *, key: str) -> str:
    """A folder, or a Hugging Face id. Raises ConfigError for a folder that holds no whole model."""
    path = Path(model).expanduser()
    if not (path / "config.json").is_file() or not (path / NAME).is_file():
        if path.is_dir() and any(path.glob("checkpoint-*")):
            raise ConfigError(f"{key}: {model} is a training that has not ended; run `berry train` again to finish it")
        return models.resolve(model, key=key)
    if not any(path.glob("*.safetensors")):
        raise ConfigError(f"{key}: {model} has no weights (*.safetensors): train it again with `berry train`")
    return str(path.resolve())
