"""Runs a value model on vLLM's pooling path, which reads prefixes from its block cache.

    ids ─► AsyncLLM.encode(task "classify", LAST pooling) ─► the value at the last token

Causal sequence classifiers alone: a published PRM with step tags goes through "token_classify", which computes every
prefix anew (vLLM 0.32 reads no cache there): transformers with kept prefixes is the better backend for it in the loop.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from berry.pipeline.config.sections.gpu_memory import USED
from berry.pipeline.config.sections.rewards import ServedReward
from berry.pipeline.engines import quiet
from berry.pipeline.engines.base import ScoreCounters
from berry.pipeline.engines.vllm import compat, gpu, host
from berry.pipeline.engines.vllm.sizes import GIB
from berry.pipeline.errors import EngineError


class Pooling:
    """`rewards.serving.service.Backend` on vLLM. Running requests end on old weights, later ones wait for new."""

    def __init__(
        self, served: ServedReward, folder: str, *, version: str, logit_mean: float = 0.0, gpu_share: float = USED
    ) -> None:
        self._served = served
        self._folder = folder
        self._version = version
        self._logit_mean = logit_mean
        self._gpu_share = gpu_share
        self._installed = compat.installed()
        self._llm: Any = None
        self._ids = itertools.count()
        self._open = asyncio.Event()
        self._open.set()
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._requests = self._naive = self._cached = 0
        self._log = Path(tempfile.gettempdir()) / f"berry-reward-{os.getpid()}-{time.monotonic_ns()}.log"

    @property
    def version(self) -> str:
        return self._version

    async def start(self) -> None:
        if self._llm is not None:
            return
        on_cores = self._installed.device == "cpu"
        cores = host.cpu_environment(len(os.sched_getaffinity(0)))
        os.environ.update(host.QUIET | (cores if on_cores else host.GPU_ENVIRONMENT))
        if not on_cores:
            gpu.check_compiler()
            await asyncio.to_thread(gpu.wait_for_memory, self._gpu_share, 1, gpu.read_gpus)
        with quiet.stderr_to(self._log):
            await asyncio.to_thread(compat.load)
            try:
                self._llm = await asyncio.to_thread(compat.launch_pooling, self._arguments(), self._task)
            except (RuntimeError, ValueError, OSError) as error:
                what = quiet.cause(self._log) or str(error).splitlines()[0]
                raise EngineError(
                    f"vLLM can't load the reward model {self._folder}: {what} (all it said is in {self._log}); "
                    "backend: transformers may"
                ) from error
        await self.value([0, 1])
        self._requests = self._naive = self._cached = 0

    @property
    def _task(self) -> str:
        return "token_classify" if self._served.step_tag is not None else "classify"

    def _arguments(self) -> dict[str, Any]:
        served = self._served
        arguments: dict[str, Any] = {
            "model": self._folder,
            "runner": "pooling",
            "dtype": served.dtype,
            "max_num_seqs": served.max_batch,
            "enable_prefix_caching": self._task == "classify",
            "skip_tokenizer_init": True,
            "disable_log_stats": True,
            "worker_extension_cls": compat.EXTENSION,
            "use_tqdm_on_load": False,
        }
        if self._installed.device == "cpu":
            arguments |= {
                "enforce_eager": True,
                "kv_cache_memory_bytes": GIB,
                "block_size": host.CPU_BLOCK_TOKENS,
                "distributed_executor_backend": "uni",
            }
        else:
            arguments |= {
                "gpu_memory_utilization": self._gpu_share,
                "max_num_batched_tokens": max(host.GPU_BATCHED_TOKENS, served.max_batch),
            }
        return arguments | served.extra

    async def value(self, ids: Sequence[int]) -> tuple[float, str]:
        while not self._open.is_set():
            await self._open.wait()
        if self._llm is None:
            raise EngineError("the reward model is not running")
        version, logit_mean = self._version, self._logit_mean
        self._running += 1
        self._idle.clear()
        try:
            out = await self._encode(ids)
        except compat.dead_engine_errors() as error:
            raise EngineError(f"the reward model's engine died: {quiet.cause(self._log) or error}") from error
        except ValueError as error:  # what it says of a prompt that is too long
            raise EngineError(f"the reward model can't read a prefix of {len(ids)} tokens: {error}") from error
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()
        self._requests += 1
        self._naive += len(ids)
        self._cached += out.num_cached_tokens or 0
        last = out.outputs.data[-1] if out.outputs.data.ndim > 1 else out.outputs.data
        logits = last.float().reshape(-1).tolist()
        raw = logits[0] - logit_mean if len(logits) == 1 else logits[1] - logits[0]
        if len(logits) == 1 and self._served.activation == "identity":
            return raw, version
        return (1 / (1 + math.exp(-raw)) if raw > -700 else 0.0), version

    async def _encode(self, ids: Sequence[int]) -> Any:
        params = compat.logits_of(self._task)
        prompt = compat.token_prompt(list(ids))
        out: Any = None
        async with aclosing(self._llm.encode(prompt, params, f"score-{next(self._ids)}")) as outputs:
            async for output in outputs:
                out = output
        return out

    async def load_weights(self, folder: str, version: str, *, logit_mean: float = 0.0) -> None:
        if self._llm is None:
            raise EngineError("the reward model is not running")
        self._open.clear()
        try:
            await self._idle.wait()
            try:
                await self._reload(folder)
            except (RuntimeError, ValueError, KeyError, OSError, AssertionError) as error:
                await self._reload(self._folder)
                raise EngineError(f"new weights {folder} can't be loaded, the old ones go on: {error}") from error
            self._folder, self._version, self._logit_mean = folder, version, logit_mean
        except compat.dead_engine_errors() as error:
            raise EngineError(f"the reward model's engine died: {quiet.cause(self._log) or error}") from error
        finally:
            self._open.set()

    async def _reload(self, folder: str) -> None:
        await self._llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        await self._llm.reset_prefix_cache(reset_running_requests=True)

    def counts(self) -> ScoreCounters:
        return ScoreCounters(
            requests=self._requests,
            naive_tokens=self._naive,
            computed_tokens=self._naive - self._cached,
            waiting=self._running,
        )

    async def close(self) -> None:
        llm, self._llm = self._llm, None
        if llm is not None:
            compat.shutdown(llm)
            await asyncio.sleep(0)
            del llm
            gc.collect()
            self._log.unlink(missing_ok=True)
