"""Runs vLLM's asynchronous engine in this process, fed with token ids.

    Request of n ─► n requests of one sample ─► each yielded when it ends

Siblings share their prompt's blocks in the prefix cache, so n single requests cost what one of n would, and
none waits for the slowest. Nothing is streamed token by token unless a regular expression has to be watched
for.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from berry.pipeline.config.sections import engine as config_engine
from berry.pipeline.core.events import Completion, Sampling, Until
from berry.pipeline.engines import adapters, models, quiet, tensors
from berry.pipeline.engines.base import Counters, EngineInfo, Request, Sample
from berry.pipeline.engines.fanout import as_they_end
from berry.pipeline.engines.occupancy import Occupancy
from berry.pipeline.engines.text.stopping import RegexStop, delimited_length
from berry.pipeline.engines.text.tokens import TokenizedEngine
from berry.pipeline.engines.vllm import compat, host
from berry.pipeline.engines.vllm import samples as vllm_samples
from berry.pipeline.engines.vllm.step_counts import EngineStep
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.records import Finish

PRIORITY_STEPS = 1024  # vLLM's priorities are whole numbers


@dataclass(slots=True)
class _Running:
    """A request that has not ended: the ids of its samples at vLLM, and whether `cancel` was called; `params`: what its
    samples have in common, where no seed tells them apart."""

    sample_ids: list[str] = field(default_factory=list)
    cancelled: bool = False
    params: Any = None


class Vllm(TokenizedEngine):
    """`berry.pipeline.engines.base.Engine` on vLLM; also `SwapsWeights` and `RecomputesLogprobs`."""

    def __init__(self, config: config_engine.VllmEngine, *, engine_id: str = "engine-0", nodes: int = 1) -> None:
        """`nodes`: that the engine is spread over; with several, this process is an actor in a placement group of Ray's
        with a GPU for each part."""
        self._installed = compat.installed()
        self._config = config = host.with_fast_dtype(config, self._installed.device)
        self._nodes = nodes
        self._llm: Any = None
        self._running: dict[str, _Running] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._loading = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._log = Path(tempfile.gettempdir()) / f"berry-{engine_id}-{os.getpid()}-{time.monotonic_ns()}.log"
        self._scored_as = vllm_samples.distribution(Sampling())
        self._delimiter_ids: dict[tuple[str, ...], list[int]] = {}
        self._drafts = bool(config.extra.get("speculative_config"))
        self._adapter: Any = None  # in vLLM's own form
        self._occupancy = Occupancy()
        self._totals = Counters()
        self._info = EngineInfo(
            engine_id=engine_id,
            model=config.model,
            # The last position stays free, so that any trajectory can be fed back whole by `logprobs`.
            max_model_len=config.max_model_len - 1,
            max_num_seqs=config.planned_num_seqs(on_gpus=self._installed.device == "gpu"),
            block_size=host.block_size(config, self._installed.device),
            template_args=config.template_args,
            versions={
                "vllm": self._installed.version,
                "device": self._installed.device,
                "dtype": config.dtype,
            },
        )

    # ---- life ----------

    async def start(self) -> None:
        await asyncio.to_thread(host.preflight, self._config, nodes=self._nodes)
        await asyncio.to_thread(host.check_gpus, self._config, self._installed.device, nodes=self._nodes)
        os.environ.update(host.environment(self._config, self._installed.device))
        os.environ.pop("VLLM_CPU_KVCACHE_SPACE", None)  # it would override engine.kv_cache_gib
        folder = await asyncio.to_thread(models.resolve, self._config.model)
        with quiet.stderr_to(self._log):  # the engine's process inherits it, and stays quiet for life
            await asyncio.to_thread(compat.load)
            await self.load_tokens(folder, self._config)
            if self._config.adapter is not None:
                self._adapter = compat.adapter(1, adapters.resolve(self._config.adapter, key="engine.adapter"))
            self._llm = await asyncio.to_thread(self._launch, folder)
            await compat.send_plain_logprobs(self._llm)
            if self._drafts:
                await self._llm.collective_rpc("give_drafts_their_sampling")
            if self._config.pipeline_parallel_size > 1:
                await self._llm.collective_rpc("make_room_between_stages")
        self._info = replace(self._info, versions=self._info.versions | await compat.how_it_samples(self._llm))
        await self._warm_up()

    def _launch(self, folder: str) -> Any:
        config, device = self._config, self._installed.device
        try:
            seqs = host.num_seqs(config, folder, device)
            self._info = replace(self._info, max_num_seqs=seqs)
            arguments = host.engine_arguments(config, folder, device, seqs, nodes=self._nodes)
            return compat.launch(arguments, self._record, offline=models.is_local(config.model))
        except (RuntimeError, ValueError, OSError) as error:
            raise EngineError(
                f"vLLM can't load {self._config.model}: {quiet.cause(self._log) or _last_line(error)} "
                f"(all it said is in {self._log})"
            ) from error

    async def close(self) -> None:
        llm, self._llm = self._llm, None
        if llm is not None:
            compat.shutdown(llm)
            await asyncio.sleep(0)  # let its output task end
            del llm
            gc.collect()  # its __del__ complains if it runs while the interpreter goes down
            self._log.unlink(missing_ok=True)

    async def _warm_up(self) -> None:
        """The first requests with log-probabilities compile kernels for seconds; nobody should be waiting
        then."""
        for top in (0, 5):
            request = Request(
                request_id=f"warm-up-{top}",
                prompt_ids=self.tokens.encode([{"role": "user", "content": "1"}]),
                n=2,
                until=Until(max_tokens=4),
                sampling=Sampling(top_logprobs=top),
                seed=0,
            )
            async for _ in self.generate(request):
                pass
        await self._llm.reset_prefix_cache()
        self._totals, self._occupancy = Counters(), Occupancy()

    # ---- what it says of itself ----------

    def counters(self) -> Counters:
        return self._occupancy.counted_in(self._totals, time.monotonic())

    def _record(self, step: EngineStep) -> None:
        old = self._totals
        if step.running is not None:
            self._occupancy.step(step.running, step.waiting, step.generated_tokens, time.monotonic())
        self._totals = Counters(
            prompt_tokens=old.prompt_tokens + step.prompt_tokens,
            cached_tokens=old.cached_tokens + step.cached_tokens,
            generated_tokens=old.generated_tokens + step.generated_tokens,
            kv_usage=old.kv_usage if step.running is None else step.kv_usage,
            drafted_tokens=old.drafted_tokens + step.drafted_tokens,
            accepted_tokens=old.accepted_tokens + step.accepted_tokens,
            preemptions=old.preemptions + step.preemptions,
            preempted_tokens=old.preempted_tokens + step.preempted_tokens,
            late_tokens=old.late_tokens + step.late_tokens,
        )

    def _count_late(self, tokens: int) -> None:
        self._totals = replace(self._totals, late_tokens=self._totals.late_tokens + tokens)

    # ---- sampling ----------

    async def generate(self, request: Request) -> AsyncIterator[Sample]:
        if request.request_id in self._running:
            raise ValueError(f"request id {request.request_id!r} is still running: ids must differ")
        running = self._running[request.request_id] = _Running()
        try:
            async with aclosing(as_they_end(self._sample(request, i, running) for i in range(request.n))) as samples:
                async for sample in samples:
                    yield sample
        finally:
            del self._running[request.request_id]

    async def cancel(self, request_id: str) -> None:
        running = self._running.get(request_id)
        if running is not None and self._llm is not None:
            running.cancelled = True
            await self._llm.abort(list(running.sample_ids))

    async def _sample(self, request: Request, index: int, running: _Running) -> Sample:
        prompt_ids, top = list(request.prompt_ids), request.sampling.top_logprobs
        room = self._info.max_model_len - len(prompt_ids)
        if room < 1:
            return Sample(index, self._completion((), Finish.LENGTH))
        await self._open.wait()
        if running.cancelled:
            return Sample(index, self._completion((), Finish.CANCELLED))
        regex = RegexStop(request.until.regex, self.decode) if request.until.regex else None
        params, seeded = running.params, self._config.reproducible
        if params is None or seeded:
            running.params = params = vllm_samples.params(
                request,
                index,
                max_tokens=min(request.until.max_tokens, room),
                seeded=seeded,
                stop_ids=self._stop_ids(request.until.delimiters),
            )
        sample_id = f"{request.request_id}#{index}"
        running.sample_ids.append(sample_id)
        priority = round(request.priority * PRIORITY_STEPS)
        output: Any = None
        length: int | None = None
        async with aclosing(self._ask(prompt_ids, params, sample_id, priority)) as outputs:
            async for output in outputs:
                if regex is not None and (length := regex.length(output.outputs[0].token_ids)) is not None:
                    break  # which frees the request
        out = output.outputs[0]
        finish = Finish.STEP if length is not None else vllm_samples.finish(out, params)
        if length is None and finish is Finish.STEP and self._drafts:
            length = delimited_length(out.token_ids, request.until.delimiters, self.decode)
        count = len(out.token_ids) if length is None else length
        if count < len(out.token_ids):
            self._count_late(len(out.token_ids) - count)
        logprobs, entropies = vllm_samples.numbers(out.logprobs, count, top)
        token_ids = tuple(out.token_ids[:count])
        text = self.decode(token_ids) if token_ids else ""
        return Sample(
            index,
            self._completion(
                token_ids,
                finish,
                text=text,
                logprobs=logprobs,
                entropies=entropies,
                cached_tokens=(output.num_cached_tokens or 0) if index == 0 else 0,
                token_ends=self.tokens.ends(token_ids, text) if request.until.token_ends else (),
            ),
        )

    def _stop_ids(self, delimiters: tuple[str, ...]) -> list[int]:
        """Delimiters that are one token: the engine itself ends a sequence there, where text is looked at a step or
        more later. Texts are looked at all the same, since a token may hold a delimiter and more."""
        ids = self._delimiter_ids.get(delimiters)
        if ids is None:
            found = [self.tokens.single(text) for text in delimiters]
            ids = self._delimiter_ids[delimiters] = [token for token in found if token is not None]
        return ids

    async def _ask(
        self, prompt_ids: list[int], params: Any, sample_id: str, priority: int = 0
    ) -> AsyncGenerator[Any, None]:
        """vLLM's outputs of one request; the one place that knows a dead engine."""
        if self._llm is None:
            raise EngineError(f"{self._info.engine_id} is not running")
        self._occupancy.begin(time.monotonic())
        self._idle.clear()
        try:
            prompt = compat.token_prompt(prompt_ids)
            asked = self._llm.generate(prompt, params, sample_id, priority=priority, lora_request=self._adapter)
            async with aclosing(asked) as outputs:
                async for output in outputs:
                    yield output
        except compat.dead_engine_errors() as error:
            raise EngineError(self._failure(error)) from error
        finally:
            self._occupancy.end(time.monotonic())
            if not self._occupancy.live:
                self._idle.set()

    def _failure(self, error: Exception) -> str:
        what = quiet.cause(self._log) or _last_line(error)
        return f"{self._info.engine_id} ({self._config.model}) died: {what} (all it said is in {self._log})"

    def _completion(self, token_ids: tuple[int, ...], finish: Finish, *, text: str = "", **numbers: Any) -> Completion:
        return Completion(
            token_ids=token_ids,
            text=text,
            finish=finish,
            engine_id=self._info.engine_id,
            weights_version=self._info.weights_version,
            **numbers,
        )

    # ---- beyond the protocol ----------

    async def logprobs(self, prompt_ids: Sequence[int], response_ids: Sequence[int], sampling: Sampling) -> list[float]:
        """See `engines.base.RecomputesLogprobs`."""
        if not response_ids:
            return []
        await self._open.wait()
        await self._score_as(sampling)
        token_ids = [*prompt_ids, *response_ids]
        outputs = [
            out async for out in self._ask(token_ids, vllm_samples.scoring_params(), f"logprobs-{time.monotonic_ns()}")
        ]
        return list(outputs[-1].prompt_logprobs.logprobs[-len(response_ids) :])

    async def _score_as(self, sampling: Sampling) -> None:
        """Has the workers compute log-probabilities of prompts as those of sampled tokens are."""
        distribution = vllm_samples.distribution(sampling)
        if distribution == self._scored_as or self._llm is None:
            return
        if not all(await self._llm.collective_rpc("score_prompts_as", args=distribution)):
            raise EngineError(
                f"{self._info.engine_id}: this vLLM runner computes log-probabilities of given tokens at temperature 1 "
                "without top-p, top-k and min-p alone"
            )
        self._scored_as = distribution

    async def load_weights(self, folder: str, version: str) -> None:
        """See `engines.base.SwapsWeights`. `folder` may also be an alias or a URL; with `engine.adapter` it is another
        adapter. One load waits for another."""
        async with self._loading:
            await (self._load_weights if self._adapter is None else self._load_adapter)(folder, version)

    async def _load_adapter(self, path: str, version: str) -> None:
        if self._llm is None:
            raise EngineError(f"{self._info.engine_id} is not running")
        self._open.clear()
        try:
            folder = await asyncio.to_thread(adapters.resolve, path, key="weights")
            await asyncio.to_thread(adapters.check_takes_the_place_of, self._adapter.lora_path, folder)
            following = compat.adapter(self._adapter.lora_int_id + 1, folder)
            await self._idle.wait()
            try:
                await self._llm.add_lora(following)  # which gives up the one before: there is room for one
            except Exception as error:  # vLLM passes on its worker's failure as a bare Exception
                raise ConfigError(f"{path} can't be taken as an adapter: {_last_line(error)}") from error
            self._adapter = following
            self._info = replace(self._info, weights_version=version)
        finally:
            self._open.set()

    async def _load_weights(self, path: str, version: str) -> None:
        if self._llm is None:
            raise EngineError(f"{self._info.engine_id} is not running")
        self._open.clear()
        try:
            folder = await asyncio.to_thread(models.resolve, path, key="weights")
            await asyncio.to_thread(tensors.check_fits, models.resolve(self._config.model), folder)
            await self._idle.wait()
            await self._llm.pause_generation(mode="wait", clear_cache=True)
            try:
                await self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
                await self._llm.collective_rpc("refresh_packed_weights")
                await self._llm.reset_prefix_cache(reset_running_requests=True)
            except Exception as error:  # vLLM passes on its worker's failure as a bare Exception
                await self.close()  # weights that were half taken must serve nobody
                raise EngineError(
                    f"{self._info.engine_id} can't take {path}: {_last_line(error)}. It has ended"
                ) from error
            await self._llm.resume_generation()
            self._info = replace(self._info, weights_version=version)
        finally:
            self._open.set()


def _last_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
