"""Generates without a model, from a stochastic process whose true values are known, with a real engine's counters.

    Request ─► draw (which tokens) ─► cache (tokens read) ─► slots and sleep (how long) ─► Sample

So that estimates can be held against the truth (`true_value`) and the pipeline measured without a model. Its speed is
the config's: `tokens_per_s` a running sequence with a queue before `max_num_seqs` of them, or none, as fast as it can.
It calls itself synthetic in `info` and is never to be mistaken for a language model. Temperature 0 takes the likeliest
course; any other temperature samples as 1, so that the truth stays the truth.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence

from msgspec.structs import replace

from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core.events import Completion
from berry.pipeline.engines.base import Counters, EngineInfo, Request, Sample
from berry.pipeline.engines.occupancy import Occupancy
from berry.pipeline.engines.slots import PrioritySlots
from berry.pipeline.engines.synthetic.cache import Prefix, SimulatedPrefixCache
from berry.pipeline.engines.synthetic.draw import SegmentSpec, continuations
from berry.pipeline.engines.synthetic.process import END_OF_TURN, ROLES, PromptProcess, decode
from berry.pipeline.errors import ConfigError
from berry.pipeline.records import Finish, Message

_CHAINS_KEPT = 512  # prompts whose processes are kept
_CHAINS_WITH_SEGMENTS = 64  # of those, whose segments are kept too
_SAMPLES_A_TURN = 64  # samples after which an engine of unlimited speed lets others run
_ANSWERS = ROLES["assistant"]


class _SyntheticRequest:
    """A request in work, with a task for each sample that takes time."""

    def __init__(self) -> None:
        self.stopped = False
        self._tasks: list[asyncio.Task[None]] = []

    def spawn(self, index: int, work: Coroutine[None, None, None], done: asyncio.Queue[Sample]) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled():  # before it ever ran
                done.put_nowait(Sample(index, Completion((), "", Finish.CANCELLED)))

        task = asyncio.create_task(work)
        task.add_done_callback(ended)
        self._tasks.append(task)

    def stop(self) -> None:
        self.stopped = True
        for task in self._tasks:
            task.cancel()


class Synthetic:
    """See `berry.pipeline.engines.base.Engine`."""

    def __init__(self, config: SyntheticEngine, *, engine_id: str = "synthetic-0", model: str = "synthetic") -> None:
        self.config = config
        self._info = EngineInfo(
            engine_id=engine_id,
            model=model,
            max_model_len=config.max_model_len,
            max_num_seqs=config.max_num_seqs,
            block_size=config.block_size,
            synthetic=True,
            seamless=True,
            template_hash="synthetic",
        )
        self._chains: dict[tuple[int, ...], PromptProcess] = {}
        self._recent: deque[PromptProcess] = deque()
        self._cache = SimulatedPrefixCache(config.block_size, config.cache_tokens // config.block_size)
        self._running: dict[str, _SyntheticRequest] = {}
        self._occupancy = Occupancy()
        self._slots = PrioritySlots(
            config.max_num_seqs, lambda taken: self._occupancy.report(taken, 0, time.monotonic())
        )
        self._slow = config.tokens_per_s is not None or config.prefill_tokens_per_s is not None
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
        return decode(token_ids)

    def encode_text(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_result(self, result: str, *, ended_by: int | None = None) -> list[int]:
        del result, ended_by
        raise ConfigError("rollout.calls of type tool_call and llama need an engine with a chat template; use fenced")

    def encode_turn(self, role: str, content: str, last: int | None) -> list[int]:
        del last  # it never is the end of a turn
        return [END_OF_TURN, *self.encode([{"role": role, "content": content}])]

    # ---- truth ------------------------------------------------------------------------------------------------------

    def true_value(self, token_ids: Sequence[int]) -> float:
        """Exact chance that a continuation of this prefix (prompt and response) ends in the right answer."""
        chain, response = self._place(token_ids)
        return chain.value(response)

    def chain(self, prompt_ids: Sequence[int]) -> PromptProcess:
        """The process of a prompt: its steps, error rates and values."""
        return self._place(prompt_ids)[0]

    def _place(self, token_ids: Sequence[int]) -> tuple[PromptProcess, list[int]]:
        ids = token_ids if isinstance(token_ids, list) else list(token_ids)
        split = len(ids)
        while split and ids[split - 1] != _ANSWERS:
            split -= 1
        split = split or len(ids)
        key = tuple(ids[:split])
        chain = self._chains.get(key)
        if chain is None:
            if len(self._chains) >= _CHAINS_KEPT:
                del self._chains[next(iter(self._chains))]
            chain = self._chains[key] = PromptProcess(self.decode(key), self.config)
            self._recent.append(chain)
            if len(self._recent) > _CHAINS_WITH_SEGMENTS:
                self._recent.popleft().forget()
        return chain, ids[split:]

    # ---- generating -------------------------------------------------------------------------------------------------

    async def generate(self, request: Request) -> AsyncIterator[Sample]:
        prompt = list(request.prompt_ids)
        chain, response = self._place(prompt)
        room = min(request.until.max_tokens, self.config.max_model_len - len(prompt))
        cached, prefix = self._cache.lookup(prompt)
        self._prompt_tokens += len(prompt)
        self._cached_tokens += cached
        running = self._running[request.request_id] = _SyntheticRequest()
        samples = self._samples(request, self._sampler(request, chain, response, room), cached)
        try:
            if self._slow:
                done: asyncio.Queue[Sample] = asyncio.Queue()
                for i, completion in samples:
                    read = 0 if i else len(prompt) - cached
                    running.spawn(i, self._take_time(request, i, completion, prefix, read, done), done)
                for _ in range(request.n):
                    yield await done.get()
                return
            caching = self._cache.capacity > 0
            for i, completion in samples:
                self._generated_tokens += len(completion.token_ids)
                if caching:
                    self._cache.store(prefix, completion.token_ids)
                yield Sample(i, completion)
                if i % _SAMPLES_A_TURN == _SAMPLES_A_TURN - 1:
                    await asyncio.sleep(0)
                if running.stopped:
                    return
        finally:
            self._running.pop(request.request_id, None)
            running.stop()

    @staticmethod
    def _samples(
        request: Request, draw: Callable[[int | None], Completion], cached: int
    ) -> Iterator[tuple[int, Completion]]:
        seed = request.seed if request.sampling.temperature > 0 else None
        for i in range(request.n):
            completion = draw(None if seed is None else seed + i)
            yield i, replace(completion, cached_tokens=cached) if cached and i == 0 else completion

    def _sampler(
        self, request: Request, chain: PromptProcess, response: list[int], room: int
    ) -> Callable[[int | None], Completion]:
        """What a sample of this seed is; None: the likeliest."""
        entropies = request.sampling.top_logprobs > 0
        wanted = SegmentSpec(request.until, room, entropies, self._info.engine_id, self._info.weights_version)
        return continuations(chain, response, wanted).draw

    async def _take_time(
        self,
        request: Request,
        index: int,
        completion: Completion,
        prefix: Prefix,
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
            partial = completion.token_ids[: int(spent_s * (config.tokens_per_s or 0.0))]
            self._hand_over(index, Completion(partial, self.decode(partial), Finish.CANCELLED), done)
            return
        finally:
            self._occupancy.end(time.monotonic())
        self._cache.store(prefix, completion.token_ids)
        self._hand_over(index, completion, done)

    def _hand_over(self, index: int, completion: Completion, done: asyncio.Queue[Sample]) -> None:
        self._generated_tokens += len(completion.token_ids)
        done.put_nowait(Sample(index, completion))

    async def cancel(self, request_id: str) -> None:
        running = self._running.get(request_id)
        if running is not None:
            running.stop()

    # ---- figures ----------------------------------------------------------------------------------------------------

    def counters(self) -> Counters:
        self._occupancy.advance(time.monotonic())
        integral, settled_s = self._occupancy.settled
        return Counters(
            prompt_tokens=self._prompt_tokens,
            cached_tokens=self._cached_tokens,
            generated_tokens=self._generated_tokens,
            running=self._slots.taken,
            waiting=self._slots.waiting,
            kv_usage=self._cache.usage,
            running_integral=integral,
            busy_s=self._occupancy.busy_s,
            settled_s=settled_s,
        )

    async def close(self) -> None:
        for request_id in list(self._running):
            await self.cancel(request_id)
        self._cache.clear()
        self._chains.clear()
        self._recent.clear()
