"""Builds the engine that a configuration names, importing what its type needs and nothing else."""

from __future__ import annotations

from berry.pipeline.config.engine import EngineConfig, HttpEngine, VllmEngine
from berry.pipeline.config.synthetic import SyntheticEngine
from berry.pipeline.engines.base import Engine


def build(config: EngineConfig, *, engine_id: str = "engine-0") -> Engine:
    """The configured engine, not started yet."""
    match config:
        case VllmEngine():
            from berry.pipeline.engines.vllm.engine import Vllm

            return Vllm(config, engine_id=engine_id)
        case HttpEngine():
            from berry.pipeline.engines.http.engine import Http

            return Http(config, engine_id=engine_id)
        case SyntheticEngine():
            from berry.pipeline.engines.synthetic.engine import Synthetic

            return Synthetic(config, engine_id=engine_id)


def environment(config: EngineConfig) -> dict[str, str]:
    """Environment variables that the engine's process needs from its start."""
    if isinstance(config, VllmEngine):
        from berry.pipeline.engines.vllm import host

        return host.environment(config)
    return {}


def preflight(config: EngineConfig) -> None:
    """Raises ConfigError or ResourceError for what would fail later. Starts nothing."""
    if isinstance(config, VllmEngine):
        from berry.pipeline.engines.vllm import host

        host.preflight(config)
