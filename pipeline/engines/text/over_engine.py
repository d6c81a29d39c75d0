"""An engine that stands over another one and hands everything on: the base of views that change a part.

Whoever holds the engine itself starts and closes it once; a view's `start` and `close` are the engine's own, for those
that hold the view alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from berry.pipeline.engines.base import Counters, Engine, EngineInfo, Request, Sample
from berry.pipeline.records import Message


class OverEngine:
    """`engine` as it is (`Engine`)."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def start(self) -> None:
        await self._engine.start()

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def encode(self, messages: Sequence[Message]) -> list[int]:
        return self._engine.encode(messages)

    def decode(self, token_ids: Sequence[int]) -> str:
        return self._engine.decode(token_ids)

    def encode_text(self, text: str) -> list[int]:
        return self._engine.encode_text(text)

    def encode_result(self, result: str, *, ended_by: int | None = None) -> list[int]:
        return self._engine.encode_result(result, ended_by=ended_by)

    def encode_turn(self, role: str, content: str, last: int | None) -> list[int]:
        return self._engine.encode_turn(role, content, last)

    def generate(self, request: Request) -> AsyncIterator[Sample]:
        return self._engine.generate(request)

    async def cancel(self, request_id: str) -> None:
        await self._engine.cancel(request_id)

    def counters(self) -> Counters:
        return self._engine.counters()

    async def close(self) -> None:
        await self._engine.close()
