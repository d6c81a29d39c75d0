"""Loads configurations from the words of a command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from berry.pipeline.config.reading.loading import apply_override, load, read_yaml, validate
from berry.pipeline.config.reading.shipped import shipped
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.storage.run.directory import RunDir


def load_run(config: str, overrides: Sequence[str], *, name: str | None = None) -> RunConfig:
    """Raises ConfigError. `name` replaces the config's own (a fork)."""
    extra = [] if name is None else [f"name={name}"]
    return load(config, [*_opened(config, overrides), *extra], RunConfig)


def _opened(config: str, overrides: Sequence[str]) -> list[str]:
    """With the contents of a cluster that the config only names, where single keys of it are to be changed."""
    if not any(o.startswith("cluster.") for o in overrides) or any(o.startswith("cluster=") for o in overrides):
        return list(overrides)
    named = read_yaml(Path(config)).get("cluster", "local")
    if not isinstance(named, str):
        return list(overrides)
    path = shipped("clusters", named, Path(config).resolve().parent)
    return [f"cluster={json.dumps({'name': path.stem, **read_yaml(path)})}", *overrides]


def load_training(run: RunDir, config: str | None, overrides: Sequence[str]) -> RewardTraining:
    """What the run's own configuration says under rewards.training, or a file, with overrides. Raises ConfigError."""
    where = config or "settings"
    if config is not None:
        raw = read_yaml(Path(config))
    else:
        raw = dict(((run.config() or {}).get("rewards") or {}).get("training") or {})
        raw = {key: value for key, value in raw.items() if value is not None}
    settings: dict[str, Any] = raw
    for override in overrides:
        apply_override(settings, override)
    return validate(settings, RewardTraining, where=where)
