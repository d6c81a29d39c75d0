"""Asks an engine for texts: chat messages in, n sampled replies out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from itertools import count
from typing import cast

from berry.pipeline.core.events import Completion, Sampling, Until
from berry.pipeline.engines.base import Engine, EngineInfo, Request
from berry.pipeline.records import Message


class PromptTooLong(ValueError):
    """The prompt leaves no room in the engine's context; the text gives both lengths in tokens."""


class Asker:
    """Requests to one engine, each under an id of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._numbers = count()
        self.generated_tokens = 0

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    async def ask(
        self, messages: Sequence[Message], *, n: int, seed: int, sampling: Sampling, max_tokens: int
    ) -> list[Completion]:
        """Reply i is drawn with `seed + i`. Raises PromptTooLong, and EngineError where the engine is dead."""
        prompt = self._engine.encode(messages)
        context = self._engine.info.max_model_len
        if len(prompt) >= context:
            raise PromptTooLong(f"{len(prompt)} tokens, the engine's context has {context}")
        name = f"variants-{next(self._numbers)}"
        request = Request(name, prompt, n, Until(max_tokens), sampling, seed, messages=messages)
        replies: list[Completion | None] = [None] * n
        async with aclosing(self._engine.generate(request)) as samples:  # pyright: ignore[reportArgumentType]
            async for sample in samples:
                replies[sample.index] = sample.completion
                self.generated_tokens += len(sample.completion.token_ids)
        return [cast(Completion, reply) for reply in replies]
