"""Finds and checks LoRA adapters: low-rank changes of a model's weights (Hu et al. 2021), in folders as PEFT has them.

folder | URL ─► resolve ─► folder with adapter_config.json and adapter_model.safetensors ─► check, engine_rank
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from berry.pipeline.engines import tensors
from berry.pipeline.engines.models import cache_folder
from berry.pipeline.errors import ConfigError
from berry.pipeline.storage.weight_cache import cached_copy

CARD = "adapter_config.json"
ENGINE_RANKS = (8, 16, 32, 64, 128, 256, 512)  # that vLLM reserves room for


def resolve(model: str, *, key: str) -> str:
    """A local folder with the adapter `model`. Raises ConfigError where it holds none, or not a whole one."""
    if "://" in model:
        copy = cached_copy(model, cache_folder() / "weights", last=CARD)
        if copy is None:
            raise ConfigError(f"{key}: {model} has no {CARD}: give a folder with a LoRA adapter, as PEFT writes it")
        folder = copy
    else:
        folder = Path(model).expanduser().resolve()
    settings = _settings(folder, key)
    if settings.get("peft_type") != "LORA" or settings.get("use_dora") or settings.get("modules_to_save"):
        raise ConfigError(
            f"{key}: {folder} is no plain LoRA adapter (peft_type {settings.get('peft_type')}, use_dora "
            f"{bool(settings.get('use_dora'))}, modules_to_save {settings.get('modules_to_save')}): merge it into its "
            "model and set engine.model to that"
        )
    if not tensors.shapes(str(folder)):
        raise ConfigError(f"{key}: {folder} has no adapter_model.safetensors: save the adapter again")
    engine_rank(str(folder), key=key)
    return str(folder)


def engine_rank(folder: str, *, key: str = "engine.adapter") -> int:
    """The rank that an engine reserves room for: the adapter's own, or the next that there is. Raises ConfigError for
    an adapter of a higher one."""
    own = int(_settings(Path(folder), key).get("r", 0))
    found = next((rank for rank in ENGINE_RANKS if rank >= own), None)
    if found is None:
        raise ConfigError(f"{key}: {folder} has rank {own}, and vLLM takes at most {ENGINE_RANKS[-1]}")
    return found


def check_takes_the_place_of(serving: str, folder: str) -> None:
    """Raises ConfigError unless an engine that was started with the adapter `serving` can take `folder` instead."""
    room, own = engine_rank(serving), engine_rank(folder, key="weights")
    if own > room:
        raise ConfigError(
            f"{folder}: its rank needs room for {own}, and the engine was started for {room}: begin a run with an "
            "engine.adapter of that rank"
        )


def _settings(folder: Path, key: str) -> dict[str, Any]:
    try:
        return json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{key}: {folder} has no readable {CARD}: give a folder with a LoRA adapter, as PEFT writes it"
        ) from error
