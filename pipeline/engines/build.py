"""From configuration to an engine. Imports what the chosen type needs, and nothing else."""

from __future__ import annotations

from pipeline.config.engine import EngineConfig, HttpEngine, VllmEngine
from pipeline.config.synthetic import SyntheticEngine
from pipeline.engines.base import Engine


def build(config: EngineConfig, *, engine_id: str = "engine-0") -> Engine:
    """An engine that was not started yet."""
    match config:
        case VllmEngine():
            from pipeline.engines.vllm import Vllm

            return Vllm(config, engine_id=engine_id)
        case HttpEngine():
            from pipeline.engines.http import Http

            return Http(config, engine_id=engine_id)
        case SyntheticEngine():
            from pipeline.engines.synthetic import Synthetic

            return Synthetic(config, engine_id=engine_id)


def environment(config: EngineConfig) -> dict[str, str]:
    """Environment variables that the engine's process needs from its start."""
    if isinstance(config, VllmEngine):
        from pipeline.engines import vllm_host

        return vllm_host.environment(config)
    return {}


def preflight(config: EngineConfig) -> None:
    """Raises ConfigError or ResourceError for what would fail later. Starts nothing."""
    if isinstance(config, VllmEngine):
        from pipeline.engines import vllm_host

        vllm_host.preflight(config)
