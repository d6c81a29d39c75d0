"""Samples from servers elsewhere, fed with token ids.

    Request of n ─► n samples, each on its tree's server ─► a slot there ─► POST ─► lines ─► yielded when it ends

A sample whose server fails is drawn again elsewhere; a cancelled one comes back with the tokens that there are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

import httpx
from msgspec import structs

from berry.pipeline.config.sections.engine import HttpEngine
from berry.pipeline.core.events import Completion
from berry.pipeline.engines import models
from berry.pipeline.engines.base import Counters, EngineInfo, Request, Sample
from berry.pipeline.engines.fanout import as_they_end
from berry.pipeline.engines.http import checks
from berry.pipeline.engines.http.completions import Completions
from berry.pipeline.engines.http.dialect import Dialect, Reply, SampleRequest, ServerFailedError
from berry.pipeline.engines.http.exchange import ABORT_S, BusyError, exchange
from berry.pipeline.engines.http.servers import Server, Servers
from berry.pipeline.engines.http.sglang import NativeGenerate
from berry.pipeline.engines.occupancy import Occupancy
from berry.pipeline.engines.text.stopping import RegexStop, delimited_length
from berry.pipeline.engines.text.tokens import TokenizedEngine
from berry.pipeline.errors import BerryError, EngineError
from berry.pipeline.records import Finish
from berry.pipeline.tasks import end_tasks, unless

SEED_MASK = 2**63 - 1
ATTEMPTS = 6  # at one sample, servers that fail on it included
BUSY_S = (0.5, 30.0)  # first and longest wait for a server that is too busy and does not say for how long
DIALECTS: dict[str, Dialect] = {"vllm": Completions(), "sglang": NativeGenerate()}


@dataclass(slots=True)
class _HttpRequest:
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


class Http(TokenizedEngine):
    """`berry.pipeline.engines.base.Engine` over HTTP. KV usage is the servers' own affair and reads 0 here.

    `transport` replaces the network, for tests."""

    def __init__(
        self, config: HttpEngine, *, engine_id: str = "http-0", transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._config = config
        self._dialect = DIALECTS[config.dialect]
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._running: dict[str, _HttpRequest] = {}
        self._aborting: set[asyncio.Task[None]] = set()
        self._occupancy = Occupancy()
        self._servers = Servers(
            config.server_urls,
            slots_each=config.max_num_seqs,
            patience_s=config.patience_s,
            check=self._check,
            changed=self._slots_changed,
        )
        self._totals = Counters()
        self._info = EngineInfo(
            engine_id=engine_id,
            model=config.model,
            max_model_len=config.max_model_len,
            max_num_seqs=config.max_num_seqs * len(config.server_urls),
            block_size=config.block_size,
            logprobs_mode=config.served_logprobs,
            template_args=config.template_args,
            versions={"url": " ".join(config.server_urls)},
        )

    # ---- life ----------

    async def start(self) -> None:
        config = self._config
        self._client = checks.client_for(config, self._transport)
        try:
            served = await checks.look_at_all(self._client, config)
            folder = await asyncio.to_thread(models.resolve, config.tokenizer or config.model, key="engine.tokenizer")
            await self.load_tokens(folder, config)
            await checks.check_tokenizer(self._client, config, self.tokens.encode_plain)
            self._info = replace(self._info, weights_version=served[0].weights_version or "v0")
        except BaseException:
            await self.close()
            raise
        self._servers.watch()

    async def _check(self, server: Server) -> str | None:
        """What is wrong with a server; None: nothing."""
        if self._client is None:
            return "the engine is closed"
        try:
            await checks.look_at(self._client, self._config, server.url)
        except BerryError as fault:
            return str(fault)
        return None

    async def close(self) -> None:
        await self._servers.close()
        await end_tasks(self._aborting)
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def counters(self) -> Counters:
        return self._occupancy.counted_in(self._totals, time.monotonic())

    def _slots_changed(self) -> None:
        self._occupancy.report(self._servers.taken, self._servers.waiting, time.monotonic())

    # ---- sampling ----------

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
            return await self._sample_somewhere(request, index, running, min(request.until.max_tokens, room))
        finally:
            self._occupancy.end(time.monotonic())

    async def _sample_somewhere(self, request: Request, index: int, running: _HttpRequest, max_tokens: int) -> Sample:
        """Draws a sample on its tree's server, and again where that fails."""
        faults, busy_s = 0, BUSY_S[0]
        while True:
            server = await self._pick(request.tree, running.cancelled)
            if server is None:
                return Sample(index, self._completion(request, (), Finish.CANCELLED))
            server.load += 1
            try:
                if not await unless(running.cancelled, server.slots.acquire(request.priority)):
                    return Sample(index, self._completion(request, (), Finish.CANCELLED))
                try:
                    if server.is_up:  # it may have failed while this waited for a slot
                        return await self._draw(server, request, index, running, max_tokens)
                finally:
                    server.slots.release()
            except ServerFailedError as fault:
                faults += 1
                if faults >= ATTEMPTS:
                    raise EngineError(f"a sample failed {faults} times, last at {server.url}: {fault}") from fault
                self._servers.fail(server, str(fault))
            except BusyError as busy:
                wait_s, busy_s = busy.after_s or busy_s, min(2 * busy_s, BUSY_S[1])
                await unless(running.cancelled, asyncio.sleep(wait_s))
            finally:
                server.load -= 1

    async def _pick(self, tree: str, cancelled: asyncio.Event) -> Server | None:
        """The server of a tree; None where the request was cancelled while none answered."""
        found: list[Server] = []

        async def pick() -> None:
            found.append(await self._servers.pick(tree))

        await unless(cancelled, pick())
        return found[0] if found else None

    async def _draw(
        self, server: Server, request: Request, index: int, running: _HttpRequest, max_tokens: int
    ) -> Sample:
        """One sample on one server. Raises ServerFailedError where it has to be drawn again."""
        if self._client is None:
            raise EngineError(f"{self._info.engine_id} is not running")
        reply, length = self._dialect.reply(), None
        regex = RegexStop(request.until.regex, self.decode) if request.until.regex else None
        stop_ids = self.tokens.control_ids(request.until.delimiters)
        asked = SampleRequest(
            sample_id=f"{self._info.engine_id}/{request.request_id}#{index}",
            prompt_ids=request.prompt_ids,
            until=request.until,
            sampling=request.sampling,
            seed=(request.seed + index) & SEED_MASK,
            max_tokens=max_tokens,
            stop_ids=stop_ids,
            stream=self._dialect.streams_always or regex is not None,
        )
        try:
            abort = partial(self._abort, server, asked.sample_id)
            async with aclosing(
                exchange(self._client, self._dialect, server, self._config.model, asked, running.cancelled, abort)
            ) as lines:
                async for line in lines:
                    if reply.feed(line) and regex is not None:
                        length = regex.length(reply.token_ids)
                        if length is not None:
                            break
        finally:
            if not reply.ended:
                self._abort(server, asked.sample_id)
            self._count(request, reply)
        if length is not None:
            finish = Finish.STEP
        elif running.cancelled.is_set():
            finish = Finish.CANCELLED if not _is_whole(reply) else reply.finish(request.until.delimiters, stop_ids)
        elif not reply.ended:
            raise ServerFailedError("the server closed the connection before the end")
        else:
            finish = reply.finish(request.until.delimiters, stop_ids)
        if length is None and finish is Finish.STEP:  # a server that drafts sees a delimiter some tokens later
            length = delimited_length(reply.token_ids, request.until.delimiters, self.decode)
        return self._read(request, index, reply, finish, length)

    def _read(self, request: Request, index: int, reply: Reply, finish: Finish, length: int | None) -> Sample:
        count = len(reply.token_ids) if length is None else length
        completion = self._completion(request, tuple(reply.token_ids[:count]), finish)
        return Sample(
            index,
            structs.replace(
                completion,
                logprobs=tuple(reply.logprobs[:count]),
                entropies=reply.entropies(count) if request.sampling.top_logprobs else (),
                cached_tokens=reply.cached_tokens if index == 0 else 0,
                weights_version=reply.weights_version or completion.weights_version,
            ),
        )

    def _count(self, request: Request, reply: Reply) -> None:
        self._totals = replace(
            self._totals,
            prompt_tokens=self._totals.prompt_tokens + len(request.prompt_ids),
            cached_tokens=self._totals.cached_tokens + reply.cached_tokens,
            generated_tokens=self._totals.generated_tokens + len(reply.token_ids),
        )

    def _abort(self, server: Server, sample_id: str) -> None:
        """Ends a sample at its server, where closing the connection does not."""
        path, client = self._dialect.abort_path, self._client
        if path is None or client is None:
            return

        async def abort() -> None:
            try:
                await client.post(server.root + path, json={"rid": sample_id}, timeout=ABORT_S)
            except httpx.HTTPError:
                return  # a server that is gone draws nothing any more

        task = asyncio.ensure_future(abort())
        self._aborting.add(task)
        task.add_done_callback(self._aborting.discard)

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


def _is_whole(reply: Reply) -> bool:
    """Whether a cancelled sample had ended by itself."""
    try:
        return reply.ended and reply.finish(()) is not Finish.CANCELLED
    except (ServerFailedError, EngineError):
        return False  # aborted
