"""Samples from a hosted chat API that gives text alone (`engine.dialect: chat`): whole answers, no token ids.

    Request with messages ─► n requests, within what the API allows a minute ─► POST /chat/completions ─► Sample

What an API does not give is not made up: a completion holds NO_ID as often as the API counted tokens, so that lengths
and budgets are its own, and no log-probabilities. What it charged is added up from its own counts.

httpx asks, as for every other server here. OpenAI's package would bring retries that know nothing of the limits below,
and a second HTTP stack into every rollout actor, for a body of ten keys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NoReturn

import httpx

from berry.pipeline.config.sections.engine import HttpEngine
from berry.pipeline.core.events import Completion
from berry.pipeline.engines.base import Counters, EngineInfo, Request, Sample
from berry.pipeline.engines.fanout import as_they_end
from berry.pipeline.engines.http import checks
from berry.pipeline.engines.http.exchange import MESSAGE_CHARS, retry_after_s
from berry.pipeline.engines.http.limits import MinuteLimit
from berry.pipeline.engines.occupancy import Occupancy
from berry.pipeline.engines.slots import PrioritySlots
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.records import NO_ID, Finish, Message
from berry.pipeline.tasks import unless

SEED_MASK = 2**31 - 1
CHARS_PER_TOKEN = 4  # of a prompt whose tokens are not known yet
BACKOFF_S = (1.0, 60.0)  # first and longest wait, doubling, where the API does not say how long
TRANSIENT = frozenset({408, 409, 425, 429})  # and all from 500
NO_CREDIT = "insufficient_quota"  # a 429 that no waiting mends
MTOK = 1_000_000
_FINISHES = {"length": Finish.LENGTH, "max_tokens": Finish.LENGTH}


class Hosted:
    """`berry.pipeline.engines.base.Engine` on a hosted chat API. `transport` replaces the network, for tests."""

    def __init__(
        self, config: HttpEngine, *, engine_id: str = "http-0", transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._config = config
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._running: dict[str, asyncio.Event] = {}
        self._occupancy = Occupancy()
        self._slots = PrioritySlots(config.max_num_seqs, self._taken)
        self._requests = MinuteLimit(config.requests_per_minute)
        self._tokens = MinuteLimit(config.tokens_per_minute)
        self._pause_until_s = 0.0
        self._totals = Counters()
        self._info = EngineInfo(
            engine_id=engine_id,
            model=config.model,
            max_model_len=config.max_model_len,
            max_num_seqs=config.max_num_seqs,
            block_size=config.block_size,
            weights_version="",
            seamless=True,
            text_alone=True,
            versions={"url": config.server_urls[0]},
        )

    async def start(self) -> None:
        self._client = checks.client_for(self._config, self._transport)
        try:
            await checks.look_at_all(self._client, self._config)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @property
    def info(self) -> EngineInfo:
        return self._info

    def counters(self) -> Counters:
        return self._occupancy.counted_in(self._totals, time.monotonic())

    # ---- text and ids, of which there are none ----------

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """No ids: requests carry their messages."""
        del messages
        return []

    def decode(self, token_ids: Sequence[int]) -> str:
        """No text: what was said is in the completions alone."""
        del token_ids
        return ""

    def encode_text(self, text: str) -> list[int]:
        self._refuse(text)

    def encode_result(self, result: str, *, ended_by: int | None = None) -> list[int]:
        self._refuse(result, ended_by)

    def encode_turn(self, role: str, content: str, last: int | None) -> list[int]:
        self._refuse(role, content, last)

    def _refuse(self, *_: object) -> NoReturn:
        raise ConfigError("engine.dialect chat gives no token ids: nothing can be put into an answer")

    # ---- sampling ----------

    async def generate(self, request: Request) -> AsyncIterator[Sample]:
        if request.request_id in self._running:
            raise ValueError(f"request id {request.request_id!r} is still running: ids must differ")
        if request.messages is None or request.until.delimiters or request.until.regex:
            raise EngineError("engine.dialect chat answers chat messages with whole samples alone")
        cancelled = self._running[request.request_id] = asyncio.Event()
        try:
            async with aclosing(as_they_end(self._sample(request, i, cancelled) for i in range(request.n))) as samples:
                async for sample in samples:
                    yield sample
        finally:
            del self._running[request.request_id]

    async def cancel(self, request_id: str) -> None:
        running = self._running.get(request_id)
        if running is not None:
            running.set()

    def _taken(self, slots: int) -> None:
        self._occupancy.report(slots, self._slots.waiting, time.monotonic())

    async def _sample(self, request: Request, index: int, cancelled: asyncio.Event) -> Sample:
        self._occupancy.begin(time.monotonic())
        found: list[Completion] = []

        async def draw() -> None:
            await self._slots.acquire(request.priority)
            try:
                found.append(await self._draw(request, index))
            finally:
                self._slots.release()

        try:
            await unless(cancelled, draw())
        finally:
            self._occupancy.end(time.monotonic())
        return Sample(index, found[0] if found else self._completion("", 0, Finish.CANCELLED))

    async def _draw(self, request: Request, index: int) -> Completion:
        """One answer, asked for again where the API was busy or failed. Raises EngineError when that lasts."""
        body, wait_s, fault = self._body(request, index), BACKOFF_S[0], ""
        prompt_tokens = sum(len(m["content"]) for m in request.messages or ()) / CHARS_PER_TOKEN
        for attempt in range(self._config.max_retries + 1):
            await self._requests.take()
            reserved = await self._tokens.take(prompt_tokens + request.until.max_tokens)
            await self._until_pause_is_over()
            self._totals = replace(
                self._totals, requests=self._totals.requests + 1, retries=self._totals.retries + bool(attempt)
            )
            reply = None
            try:
                reply = await self._post(body)
            except httpx.HTTPError as error:
                fault = str(error) or type(error).__name__
            if reply is not None and reply.status_code == httpx.codes.OK:
                completion, tokens = self._read(reply)
                self._tokens.correct(reserved, tokens)
                return completion
            self._tokens.correct(reserved, 0)
            if reply is not None:
                fault = self._fault(reply)
                told_s = retry_after_s(reply.headers.get("retry-after"))
                if told_s is not None:  # it is said to all that ask, not to this request
                    self._pause_until_s = max(self._pause_until_s, time.monotonic() + told_s)
                    continue
            if attempt < self._config.max_retries:
                await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, BACKOFF_S[1])
        raise EngineError(f"{self._config.server_urls[0]}: {fault}, {self._config.max_retries + 1} times")

    async def _post(self, body: dict[str, Any]) -> httpx.Response:
        if self._client is None:
            raise EngineError(f"{self._info.engine_id} is not running")
        return await self._client.post(f"{self._config.server_urls[0].rstrip('/')}/chat/completions", json=body)

    async def _until_pause_is_over(self) -> None:
        while (left_s := self._pause_until_s - time.monotonic()) > 0:
            await asyncio.sleep(left_s)

    def _body(self, request: Request, index: int) -> dict[str, Any]:
        sampling = request.sampling
        body = {
            "model": self._config.model,
            "messages": [dict(message) for message in request.messages or ()],
            "max_tokens": request.until.max_tokens,
            "temperature": sampling.temperature,
            "seed": (request.seed + index) & SEED_MASK,
            **({"top_p": sampling.top_p} if sampling.top_p < 1 else {}),
            **self._config.extra_body,
        }
        return {key: value for key, value in body.items() if value is not None}

    def _fault(self, reply: httpx.Response) -> str:
        """What an answer that is none says. Raises EngineError where asking again would not help."""
        said = f"it answers {reply.status_code}: {reply.text[:MESSAGE_CHARS]}"
        transient = reply.status_code in TRANSIENT or reply.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
        if not transient or NO_CREDIT in reply.text:
            raise EngineError(f"{self._config.server_urls[0]}: {said}")
        return said

    def _read(self, reply: httpx.Response) -> tuple[Completion, int]:
        """The answer, and all tokens that it was charged for; adds them up."""
        try:
            told = reply.json()
            choice = told["choices"][0]
            message, usage = choice["message"], told.get("usage") or {}
            prompt, generated = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
            cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
            reasoning = int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0)
            text = message.get("content") or ""
            thought = message.get("reasoning_content") or message.get("reasoning") or ""
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise EngineError(
                f"{self._config.server_urls[0]}: no chat completion with its usage: {reply.text[:MESSAGE_CHARS]}"
            ) from error
        if thought and self._config.keep_reasoning:
            text = f"<think>\n{thought}\n</think>\n\n{text}"
        price = self._config.price
        cost = 0.0
        if price is not None:
            cached_price = price.prompt_usd if price.cached_usd is None else price.cached_usd
            cost = (prompt - cached) * price.prompt_usd + cached * cached_price + generated * price.completion_usd
        totals = self._totals
        self._totals = replace(
            totals,
            prompt_tokens=totals.prompt_tokens + prompt,
            cached_tokens=totals.cached_tokens + cached,
            generated_tokens=totals.generated_tokens + generated,
            reasoning_tokens=totals.reasoning_tokens + reasoning,
            cost_usd=totals.cost_usd + cost / MTOK,
        )
        finish = _FINISHES.get(choice.get("finish_reason"), Finish.STOP)
        return self._completion(text, generated, finish), prompt + generated

    def _completion(self, text: str, tokens: int, finish: Finish) -> Completion:
        return Completion(
            token_ids=(NO_ID,) * tokens,
            text=text,
            finish=finish,
            engine_id=self._info.engine_id,
        )
