"""Shows an engine as one whose chat template is given other arguments: for the problems of one mode or source.

    engine, template arguments ─► under ─► the same engine, whose prompts and turns are rendered with them

Only what makes token ids of messages differs; requests, counters and weights are the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from berry.pipeline.engines.base import Engine, EngineInfo
from berry.pipeline.engines.text.over_engine import OverEngine
from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.errors import ConfigError
from berry.pipeline.records import Message


@runtime_checkable
class HasTemplate(Protocol):
    """An engine with a chat template (`engines.tokens.TokenizedEngine`)."""

    @property
    def tokens(self) -> Tokens: ...


def under(engine: Engine, arguments: Mapping[str, Any]) -> Engine:
    """The engine with these arguments of its chat template beside its own, which they go before. Raises ConfigError
    where it has none."""
    if not arguments:
        return engine
    if not isinstance(engine, HasTemplate):
        raise ConfigError(f"template_args: {engine.info.engine_id} has no chat template that could read them")
    return EngineUnder(engine, {**engine.info.template_args, **arguments}, engine.tokens)


class EngineUnder(OverEngine):
    """`engine` with all these `arguments` of its chat template (`Engine`). It is started and closed by whoever holds
    the engine itself."""

    def __init__(self, engine: Engine, arguments: Mapping[str, Any], tokens: Tokens) -> None:
        super().__init__(engine)
        self._arguments = dict(arguments)
        self._tokens = tokens.with_arguments(arguments)

    @property
    def info(self) -> EngineInfo:
        return replace(self._engine.info, template_args=self._arguments)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        return self._tokens.encode(messages)

    def encode_result(self, result: str, *, ended_by: int | None = None) -> list[int]:
        return self._tokens.encode_result(result, ended_by=ended_by)

    def encode_turn(self, role: str, content: str, last: int | None) -> list[int]:
        return self._tokens.encode_turn(role, content, last)
