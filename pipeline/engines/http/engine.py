"""Samples from a completions server elsewhere, fed with token ids.

    Request of n ─► n streams of one sample, at most `max_num_seqs` at once ─► each yielded when it ends

Streams are what makes partial tokens of a cancelled sample known; closing one frees its request at the server.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from msgspec import structs

from berry.pipeline.config.sections.engine import HttpEngine
from berry.pipeline.core.events import Completion
from berry.pipeline.engines import models
from berry.pipeline.engines.base import Counters, EngineInfo, Request, Sample
from berry.pipeline.engines.fanout import as_they_end
from berry.pipeline.engines.http import protocol
from berry.pipeline.engines.occupancy import Occupancy
from berry.pipeline.engines.slots import PrioritySlots
from berry.pipeline.engines.stopping import RegexStop
from berry.pipeline.engines.tokens import TokenizedEngine
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.records import Finish
from berry.pipeline.tasks import end_tasks, unless

SEED_MASK = 2**63 - 1
START_TIMEOUT_S = 20.0


@dataclass(slots=True)
class _HttpRequest:
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


class Http(TokenizedEngine):
    """`berry.pipeline.engines.base.Engine` over HTTP. KV usage is the server's own affair and reads 0 here.

    `transport` replaces the network, for tests."""

    def __init__(
        self, config: HttpEngine, *, engine_id: str = "http-0", transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._config = config
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._running: dict[str, _HttpRequest] = {}
        self._occupancy = Occupancy()
        self._slots = PrioritySlots(config.max_num_seqs, self._taken)
        self._totals = Counters()
        self._info = EngineInfo(
            engine_id=engine_id,
            model=config.model,
            max_model_len=config.max_model_len,
            max_num_seqs=config.max_num_seqs,
            block_size=config.block_size,
            logprobs_mode=config.logprobs_mode,
            template_args=config.template_args,
            versions={"url": config.url},
        )

    async def start(self) -> None:
        config = self._config
        headers = {}
        if config.api_key_env is not None:
            key = os.environ.get(config.api_key_env)
            if not key:
                raise ConfigError(f"engine.api_key_env: the environment variable {config.api_key_env} is not set")
            headers["Authorization"] = f"Bearer {key}"
        folder = await asyncio.to_thread(models.resolve, config.tokenizer or config.model, key="engine.tokenizer")
        await self.load_tokens(folder, config)
        self._client = httpx.AsyncClient(
            base_url=config.url.rstrip("/"),
            headers=headers,
            transport=self._transport,
            timeout=httpx.Timeout(config.timeout_s, connect=START_TIMEOUT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=config.max_num_seqs),
        )
        try:
            await self._check_server(self._client)
        except BaseException:
            await self.close()
            raise

    async def _check_server(self, client: httpx.AsyncClient) -> None:
        config = self._config
        try:
            reply = await client.get("/models", timeout=START_TIMEOUT_S)
            reply.raise_for_status()
            served = {str(row["id"]): row for row in reply.json()["data"]}
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise EngineError(
                f"no completions server answers at engine.url {config.url}: {error or type(error).__name__}"
            ) from error
        if config.model not in served:
            raise ConfigError(f"engine.model {config.model!r} is not served at {config.url}; served: {sorted(served)}")
        longest = served[config.model].get("max_model_len")
        if longest is not None and config.max_model_len > longest:
            raise ConfigError(
                f"engine.max_model_len {config.max_model_len} is more than the server's: set it to at most {longest}"
            )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def counters(self) -> Counters:
        self._occupancy.advance(time.monotonic())
        integral, settled_s = self._occupancy.settled
        return replace(
            self._totals,
            running=self._occupancy.running_now,
            waiting=self._occupancy.waiting_now,
            running_integral=integral,
            busy_s=self._occupancy.busy_s,
            settled_s=settled_s,
        )

    async def generate(self, request: Request) -> AsyncIterator[Sample]:
        if request.request_id in self._running:
            raise ValueError(f"request id {request.request_id!r} is still running: ids must differ")
        running = self._running[request.request_id] = _HttpRequest()
        try:
            async with aclosing(as_they_end(self._sample(request, i, running) for i in range(request.n))) as samples:
                async for sample in samples:
                    yield sample
        finally:
            del self._running[request.request_id]

    async def cancel(self, request_id: str) -> None:
        running = self._running.get(request_id)
        if running is not None:
            running.cancelled.set()

    async def _sample(self, request: Request, index: int, running: _HttpRequest) -> Sample:
        room = self._info.max_model_len - len(request.prompt_ids)
        if room < 1:
            return Sample(index, self._completion(request, (), Finish.LENGTH))
        self._occupancy.begin(time.monotonic())
        try:
            if not await unless(running.cancelled, self._slots.acquire(request.priority)):
                return Sample(index, self._completion(request, (), Finish.CANCELLED))
            try:
                return await self._stream(request, index, running, min(request.until.max_tokens, room))
            finally:
                self._slots.release()
        finally:
            self._occupancy.end(time.monotonic())

    def _taken(self, slots: int) -> None:
        self._occupancy.report(slots, self._slots.waiting, time.monotonic())

    async def _stream(self, request: Request, index: int, running: _HttpRequest, max_tokens: int) -> Sample:
        reading, finish, length = protocol.EventStream(), Finish.CANCELLED, None
        regex = RegexStop(request.until.regex, self.decode) if request.until.regex else None
        stop_ids = self.tokens.control_ids(request.until.delimiters)
        body = protocol.body(
            self._config.model,
            request.prompt_ids,
            until=request.until,
            sampling=request.sampling,
            seed=(request.seed + index) & SEED_MASK,
            max_tokens=max_tokens,
            stop_ids=stop_ids,
        )
        async with aclosing(self._lines(body, running.cancelled)) as lines:
            async for line in lines:
                if reading.feed(line) and regex is not None:
                    length = regex.length(reading.token_ids)
                    if length is not None:
                        break
        if length is not None:
            finish = Finish.STEP
        elif reading.finish_reason is not None:
            finish = reading.finish(request.until.delimiters, stop_ids)
        count = len(reading.token_ids) if length is None else length
        self._totals = replace(
            self._totals,
            prompt_tokens=self._totals.prompt_tokens + len(request.prompt_ids),
            cached_tokens=self._totals.cached_tokens + reading.cached_tokens,
            generated_tokens=self._totals.generated_tokens + len(reading.token_ids),
        )
        completion = self._completion(request, tuple(reading.token_ids[:count]), finish)
        return Sample(
            index,
            structs.replace(
                completion,
                logprobs=tuple(reading.logprobs[:count]),
                entropies=reading.entropies(count) if request.sampling.top_logprobs else (),
                cached_tokens=reading.cached_tokens if index == 0 else 0,
            ),
        )

    async def _lines(self, body: dict[str, Any], cancelled: asyncio.Event) -> AsyncGenerator[str, None]:
        """Lines of one stream, until its end or until `cancelled`."""
        if self._client is None:
            raise EngineError(f"{self._info.engine_id} is not running")
        stopped = asyncio.ensure_future(cancelled.wait())
        try:
            async with self._client.stream("POST", "/completions", json=body) as reply:
                if reply.status_code != httpx.codes.OK:
                    message = (await reply.aread()).decode(errors="replace")[:500]
                    raise EngineError(f"{self._config.url} answers {reply.status_code}: {message}")
                lines = aiter(reply.aiter_lines())
                while True:
                    line = asyncio.ensure_future(anext(lines, None))
                    await asyncio.wait((line, stopped), return_when=asyncio.FIRST_COMPLETED)
                    if not line.done():
                        await end_tasks((line,))
                        return
                    text = line.result()
                    if text is None:
                        return
                    yield text
        except httpx.HTTPError as error:
            raise EngineError(f"{self._config.url}: {error or type(error).__name__}") from error
        finally:
            stopped.cancel()

    def _completion(self, request: Request, token_ids: tuple[int, ...], finish: Finish) -> Completion:
        text = self.decode(token_ids) if token_ids else ""
        return Completion(
            token_ids=token_ids,
            text=text,
            finish=finish,
            engine_id=self._info.engine_id,
            weights_version=self._info.weights_version,
            token_ends=self.tokens.ends(token_ids, text) if request.until.token_ends else (),
        )
