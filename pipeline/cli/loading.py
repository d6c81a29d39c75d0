"""A RunConfig from the command line's words."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config.loading import load
from pipeline.config.run import RunConfig


def load_run(config: str, overrides: Sequence[str], *, name: str | None = None) -> RunConfig:
    """Raises ConfigError. `name` replaces the config's own (a fork)."""
    extra = [] if name is None else [f"name={name}"]
    return load(config, [*overrides, *extra], RunConfig)
