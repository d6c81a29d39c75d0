"""An engine without a model: a stochastic process whose true values are known, with the counters of a real engine.

    Request ─► synthetic_process (what is said) ─► synthetic_cache (what was read) ─► slots and sleep (how long) ─► Sample

So that estimates can be held against the truth (`true_value`) and the pipeline measured without a model. Its speed is
the config's: `tokens_per_s` a running sequence with a queue before `max_num_seqs` of them, or none, as fast as it can.
It calls itself synthetic in `info` and is never to be mistaken for a language model. Temperature 0 takes the likeliest
course; any other temperature samples as 1, so that the truth stays the truth.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from pipeline.config.synthetic import SyntheticEngine
from pipeline.core.events import Completion, Until
from pipeline.engines.base import Counters, EngineInfo, Request, Sample
from pipeline.engines.occupancy import Occupancy
from pipeline.engines.stopping import RegexStop
from pipeline.engines.synthetic_cache import PrefixCache
from pipeline.engines.synthetic_process import END_OF_TURN, NUMBER, ROLES, Chain, Piece, text_of
from pipeline.records import Finish, Message

_FILLER = 270  # a word without meaning, repeated by a response that never ends
_TURN = 64  # samples after which an engine of unlimited speed lets others run


@dataclass(slots=True)
class _Running:
    """A request in work; `stopped` is set by cancel."""

    stopped: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Synthetic:
    """See `pipeline.engines.base.Engine`."""

    def __init__(self, config: SyntheticEngine, *, engine_id: str = "synthetic-0") -> None:
        self.config = config
        self._info = EngineInfo(
            engine_id=engine_id,
            model="synthetic",
            max_model_len=config.max_model_len,
            max_num_seqs=config.max_num_seqs,
            block_size=config.block_size,
            synthetic=True,
        )
        self._chains: dict[tuple[int, ...], Chain] = {}
        self._cache = PrefixCache(config.block_size, config.cache_tokens // config.block_size)
        self._running: dict[str, _Running] = {}
        self._occupancy = Occupancy()
        self._slots = _Slots(config.max_num_seqs, self._occupancy)
        self._chance = random.Random()
        self._prompt_tokens = self._cached_tokens = self._generated_tokens = 0

    async def start(self) -> None:
        self._occupancy.advance(time.monotonic())

    @property
    def info(self) -> EngineInfo:
        return self._info

    # ---- text -------------------------------------------------------------------------------------------------------

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Role tokens and the bytes of the contents: `decode` gives them back."""
        ids: list[int] = []
        for message in messages:
            ids.append(ROLES.get(message["role"], ROLES["user"]))
            ids.extend(message["content"].encode())
            ids.append(END_OF_TURN)
        return [*ids, ROLES["assistant"]]

    def decode(self, token_ids: Sequence[int]) -> str:
        parts: list[str] = []
        pending = bytearray()
        for token in token_ids:
            text = text_of(token)
            if text is None:
                pending.append(token)
                continue
            if pending:
                parts.append(pending.decode(errors="replace"))
                pending.clear()
            parts.append(text)
        return "".join(parts) + pending.decode(errors="replace")

    # ---- truth ------------------------------------------------------------------------------------------------------

    def true_value(self, token_ids: Sequence[int]) -> float:
        """Exact chance that a continuation of this prefix (prompt and response) ends in the right answer."""
        chain, response = self._place(token_ids)
        return chain.value(response)

    def chain(self, prompt_ids: Sequence[int]) -> Chain:
        """The process of a prompt: its steps, error rates and values."""
        return self._place(prompt_ids)[0]

    def _place(self, token_ids: Sequence[int]) -> tuple[Chain, list[int]]:
        ids = list(token_ids)
        ids.reverse()
        split = len(ids) - ids.index(ROLES["assistant"]) if ROLES["assistant"] in ids else len(ids)
        ids.reverse()
        key = tuple(ids[:split])
        chain = self._chains.get(key)
        if chain is None:
            chain = self._chains[key] = Chain(self.decode(key), self.config)
        return chain, ids[split:]

    # ---- generating -------------------------------------------------------------------------------------------------

    async def generate(self, request: Request) -> AsyncIterator[Sample]:
        prompt = list(request.prompt_ids)
        chain, response = self._place(prompt)
        cached = self._cache.lookup(prompt)
        self._prompt_tokens += len(prompt)
        self._cached_tokens += cached
        running = self._running[request.request_id] = _Running()
        try:
            samples = self._sampled(request, prompt, chain, response, cached, running)
            async for sample in samples:
                yield sample
        finally:
            self._running.pop(request.request_id, None)
            for task in running.tasks:
                task.cancel()

    async def _sampled(
        self,
        request: Request,
        prompt: list[int],
        chain: Chain,
        response: list[int],
        cached: int,
        running: _Running,
    ) -> AsyncIterator[Sample]:
        greedy = request.sampling.temperature == 0
        entropies = request.sampling.top_logprobs > 0
        room = min(request.until.max_tokens, self.config.max_model_len - len(prompt))
        slow = self.config.tokens_per_s is not None or self.config.prefill_tokens_per_s is not None
        done: asyncio.Queue[Sample] = asyncio.Queue()
        for i in range(request.n):
            if running.stopped:
                return
            seed = None if greedy else request.seed + i
            completion = self._draw(chain, response, request.until, room, seed=seed, entropies=entropies)
            if i == 0 and cached:
                completion = replace(completion, cached_tokens=cached)
            if slow:
                read = len(prompt) - cached if i == 0 else 0
                work = self._decode_slowly(request, i, completion, prompt, read, done)
                running.tasks.append(asyncio.create_task(work))
                continue
            self._book(prompt, completion)
            yield Sample(i, completion)
            if i % _TURN == _TURN - 1:
                await asyncio.sleep(0)
        if slow:
            for _ in range(request.n):
                yield await done.get()

    def _book(self, prompt: list[int], completion: Completion) -> None:
        self._generated_tokens += len(completion.token_ids)
        self._cache.store([*prompt, *completion.token_ids])

    async def _decode_slowly(
        self,
        request: Request,
        index: int,
        completion: Completion,
        prompt: list[int],
        read: int,
        done: asyncio.Queue[Sample],
    ) -> None:
        """Wait for a slot, then for as long as reading and decoding take. Cancelled, hand back what there is."""
        config = self.config
        prefill_s = read / config.prefill_tokens_per_s if config.prefill_tokens_per_s else 0.0
        decode_s = len(completion.token_ids) / config.tokens_per_s if config.tokens_per_s else 0.0
        self._occupancy.begin(time.monotonic())
        began: float | None = None
        try:
            await self._slots.acquire(request.priority)
            began = time.monotonic()
            try:
                await asyncio.sleep(prefill_s + decode_s)
            finally:
                self._slots.release()
        except asyncio.CancelledError:
            spent_s = 0.0 if began is None else max(0.0, time.monotonic() - began - prefill_s)
            n = min(len(completion.token_ids), int(spent_s * (config.tokens_per_s or 0.0)))
            self._generated_tokens += n
            partial = completion.token_ids[:n]
            done.put_nowait(Sample(index, Completion(partial, self.decode(partial), Finish.CANCELLED)))
            return
        finally:
            self._occupancy.end(time.monotonic())
        self._book(prompt, completion)
        done.put_nowait(Sample(index, completion))

    async def cancel(self, request_id: str) -> None:
        running = self._running.get(request_id)
        if running is not None:
            running.stopped = True
            for task in running.tasks:
                task.cancel()

    # ---- drawing ----------------------------------------------------------------------------------------------------

    def _draw(
        self, chain: Chain, response: list[int], until: Until, room: int, *, seed: int | None, entropies: bool
    ) -> Completion:
        chance: random.Random | None = None
        if seed is not None:
            chance = self._chance
            chance.seed(seed)
        pieces: list[Piece] = []
        finish = Finish.STOP
        if not response and chance is not None and self.config.empty_rate + self.config.endless_rate:
            fault = chance.random()
            if fault < self.config.empty_rate:
                return Completion((), "", Finish.STOP, engine_id=self._info.engine_id)
            if fault < self.config.empty_rate + self.config.endless_rate:
                pieces = [_endless(room)]
                finish = Finish.LENGTH
        if not pieces:
            pieces = _pieces(chain, response, room, chance, stops=bool(until.delimiters))
        tokens = tuple([token for piece in pieces for token in piece.tokens])
        text = "".join([piece.text for piece in pieces])
        n = len(tokens)
        ends: list[int] = []
        if until.token_ends or until.delimiters or until.regex or n > room:
            before = 0
            for piece in pieces:
                ends.extend([before + end for end in piece.ends])
                before += len(piece.text)
        stop = self._stop(text, tokens, ends, until)
        if stop is not None and stop < n:
            n, finish = stop, Finish.STEP
        if n > room:
            n, finish = room, Finish.LENGTH
        if n < len(tokens):
            tokens, text = tokens[:n], text[: ends[n - 1]] if n else ""
        return Completion(
            token_ids=tokens,
            text=text,
            finish=finish,
            logprobs=tuple([x for piece in pieces for x in piece.logprobs][:n]),
            entropies=tuple([x for piece in pieces for x in piece.entropies][:n]) if entropies else (),
            engine_id=self._info.engine_id,
            weights_version=self._info.weights_version,
            token_ends=tuple(ends[:n]) if until.token_ends else (),
        )

    def _stop(self, text: str, tokens: tuple[int, ...], ends: list[int], until: Until) -> int | None:
        """Tokens up to and with the one that completes the first delimiter or match."""
        found = [at + len(d) for d in until.delimiters if (at := text.find(d)) >= 0]
        stops = [bisect_left(ends, min(found)) + 1] if found else []
        if until.regex is not None:
            length = RegexStop(until.regex, self.decode).length(tokens)
            stops += [length] if length is not None else []
        return min(stops, default=None)

    # ---- figures ----------------------------------------------------------------------------------------------------

    def counters(self) -> Counters:
        self._occupancy.advance(time.monotonic())
        return Counters(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            generated_tokens=self._generated_tokens,
            running=self._slots.taken,
            waiting=self._slots.waiting,
            kv_usage=self._cache.usage,
            running_integral=self._occupancy.running_integral,
            busy_s=self._occupancy.busy_s,
        )

    async def close(self) -> None:
        for request_id in list(self._running):
            await self.cancel(request_id)
        self._cache.clear()
        self._chains.clear()


class _Slots:
    """At most `limit` holders; who waits with the lowest priority number comes next."""

    def __init__(self, limit: int, occupancy: Occupancy) -> None:
        self.limit = limit
        self.taken = 0
        self._occupancy = occupancy
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0

    @property
    def waiting(self) -> int:
        return sum(not future.done() for _, _, future in self._queue)

    async def acquire(self, priority: float) -> None:
        if self.taken >= self.limit:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._number += 1
            heapq.heappush(self._queue, (priority, self._number, future))
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self.release()
                raise
            return
        self._change(1)

    def release(self) -> None:
        while self._queue:
            _, _, future = heapq.heappop(self._queue)
            if not future.done():
                future.set_result(None)  # the slot passes on: the count stays
                return
        self._change(-1)

    def _change(self, by: int) -> None:
        self.taken += by
        self._occupancy.report(self.taken, 0, time.monotonic())


def _pieces(
    chain: Chain, response: list[int], room: int, chance: random.Random | None, *, stops: bool
) -> list[Piece]:
    """From this prefix to the end of the answer, or a little past what is asked for."""
    step, total, partial = chain.place(response)
    begun = len(partial)
    pieces: list[Piece] = []
    n = 0
    while step < chain.n_steps and n <= room:
        if begun >= chain.decision(step):
            after = partial[chain.decision(step) - 1] - NUMBER
        else:
            after = chain.next_total(step, total, chance)
        piece = chain.step(step, total, after).after(begun)
        pieces.append(piece)
        n += len(piece.tokens)
        step, total, begun = step + 1, after, 0
        if stops and "\n\n" in piece.text:
            break  # nothing that an engine stops at comes later than this
    else:
        pieces.append(chain.answer(total).after(begun))
    return pieces


def _endless(room: int) -> Piece:
    n = room + 1
    word = text_of(_FILLER) or ""
    ends = tuple(len(word) * (i + 1) for i in range(n))
    return Piece((_FILLER,) * n, word * n, ends, (-0.02,) * n, (0.02,) * n)
