"""Provides judges for `model` verifiers on Berry's own engines.

messages ─► Engine.generate, n samples ─► their texts          (any engine: vllm, http, scripted)
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from berry.pipeline.core.events import Sampling
from berry.pipeline.engines.base import Engine
from berry.pipeline.engines.chat import Asker, PromptTooLong
from berry.pipeline.errors import EngineError
from berry.pipeline.records import Message
from berry.verifiers.context import Judge, JudgeUnavailable, Messages

MAX_TOKENS = 1024  # of a judge's reply
CONTEXT_TOKENS = 8192  # of its engine


class EngineJudge:
    """Judges on an engine that was started. A prompt that does not fit, or a dead engine: JudgeUnavailable."""

    def __init__(self, engine: Engine, *, sampling: Sampling | None = None, max_tokens: int = MAX_TOKENS) -> None:
        self._asker = Asker(engine)
        self._sampling = sampling or Sampling(temperature=0.7)
        self._max_tokens = max_tokens

    async def __call__(self, messages: Messages, *, n: int, seed: int) -> list[str]:
        chat: list[Message] = [{"role": m["role"], "content": m["content"]} for m in messages]
        try:
            replies = await self._asker.ask(chat, n=n, seed=seed, sampling=self._sampling, max_tokens=self._max_tokens)
        except (EngineError, PromptTooLong) as fault:
            raise JudgeUnavailable(str(fault)) from fault
        return [reply.text for reply in replies]


@asynccontextmanager
async def judge_of(model: str | None) -> AsyncIterator[Judge | None]:
    """A judge on a vLLM engine of this process while the context lasts; None for no model. Raises EngineError,
    ConfigError, ResourceError."""
    if model is None:
        yield None
        return
    from berry.pipeline.config.sections.engine import VllmEngine
    from berry.pipeline.engines.build import build, environment, preflight

    config = VllmEngine(model=model, max_model_len=CONTEXT_TOKENS)
    for name, value in environment(config).items():
        os.environ.setdefault(name, value)
    preflight(config)
    engine = build(config, engine_id="judge")
    await engine.start()
    try:
        yield EngineJudge(engine)
    finally:
        await engine.close()
