"""Builds the engine that a configuration names, importing what its type needs and nothing else."""

from __future__ import annotations

from berry.pipeline.config.sections.engine import EngineConfig, HttpEngine, VllmEngine
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.engines.base import Engine


def build(config: EngineConfig, *, engine_id: str = "engine-0", name: str = "", nodes: int = 1) -> Engine:
    """The configured engine, not started yet. `name`: among several, which tells synthetic ones apart; `nodes`: that it
    is spread over (`Vllm`)."""
    match config:
        case VllmEngine():
            from berry.pipeline.engines.vllm.engine import Vllm

            return Vllm(config, engine_id=engine_id, nodes=nodes)
        case HttpEngine(dialect="chat"):
            from berry.pipeline.engines.http.hosted import Hosted

            return Hosted(config, engine_id=engine_id)
        case HttpEngine():
            from berry.pipeline.engines.http.engine import Http

            return Http(config, engine_id=engine_id)
        case SyntheticEngine():
            from berry.pipeline.engines.synthetic.engine import Synthetic

            model = f"synthetic-{name}" if name else "synthetic"
            return Synthetic(config, engine_id=engine_id, model=model)


def environment(config: EngineConfig) -> dict[str, str]:
    """Environment variables that an engine in this process needs before it starts. Raises ResourceError where the
    engine is not installed."""
    if isinstance(config, VllmEngine):
        from berry.pipeline.engines.vllm import host

        return host.environment(config, host.device_here())
    return {}


def preflight(config: EngineConfig, *, role_gpus: float = 0) -> None:
    """Raises ConfigError or ResourceError for what would fail later. Starts nothing. `role_gpus`: what the role that
    will hold the engine reserves; with GPUs the engine runs on them, whatever is installed on this host. Servers are
    asked what they serve."""
    if isinstance(config, VllmEngine):
        from berry.pipeline.engines.vllm import host

        host.preflight(config, device="gpu" if role_gpus else None)
    elif isinstance(config, HttpEngine):
        from berry.pipeline.engines.http import checks

        checks.preflight(config)
