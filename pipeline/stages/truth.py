"""The truth about a prefix, where the engine's process is known: for holding estimates and models against it."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.config.engine import EngineConfig
from pipeline.config.synthetic import SyntheticEngine
from pipeline.stages.labelled import Truth


def truth_of(config: EngineConfig) -> Truth | None:
    """For prompt and response ids: the exact value, and whether the running total is right so far. None for engines
    with a model behind them."""
    if not isinstance(config, SyntheticEngine):
        return None
    from pipeline.engines.synthetic import Synthetic
    from pipeline.engines.synthetic_process import ROLES

    engine = Synthetic(config)
    assistant = ROLES["assistant"]

    def truth(token_ids: Sequence[int]) -> tuple[float, bool]:
        split = len(token_ids) - list(reversed(token_ids)).index(assistant)
        chain = engine.chain(token_ids[:split])
        done, total, _ = chain.place(list(token_ids[split:]))
        return engine.true_value(token_ids), total == chain.totals[done]

    return truth
