"""The engines of the contract tests: synthetic, vLLM on the tiny model, and the same model behind a real server."""

from __future__ import annotations

import asyncio
import getpass
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from berry.pipeline.config.sections.engine import EngineConfig, HttpEngine, VllmEngine
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core.events import Completion, Sampling, Until
from berry.pipeline.engines.base import Engine, Request
from berry.pipeline.engines.build import build, environment
from berry.pipeline.engines.models import resolve
from berry.pipeline.engines.scripted import Scripted
from berry.pipeline.engines.vllm.engine import Vllm
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems import arithmetic
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from tests.engines.http.sglang_server import sglang

TINY = VllmEngine(
    model="tiny-arithmetic",
    dtype="float32",
    max_model_len=128,
    max_num_seqs=32,
    kv_cache_gib=0.25,
    threads=1,
    reproducible=True,
)
SPEED = SyntheticEngine(tokens_per_s=2000, filler_tokens=(2, 3), max_num_seqs=32, max_model_len=256)
SERVER_START_S = 280.0
KERNELS = {  # compiled once a machine, not once for each folder that stands for the temporary one
    "TORCHINDUCTOR_CACHE_DIR": f"{tempfile.gettempdir()}/torchinductor_{getpass.getuser()}"
}

UNCOMPILED = {"TORCH_COMPILE_DISABLE": "1"}
"""A server of vLLM's counts the ranks of what it samples in a kernel that it compiles for half a minute; in plain
PyTorch the counts are the same, and of the tiny model's few tokens as fast."""


@asynccontextmanager
async def loaded(config: VllmEngine) -> AsyncIterator[Vllm]:
    """A real engine of that configuration, closed at the end."""
    with tempfile.TemporaryDirectory(prefix="berry-") as folder, pytest.MonkeyPatch.context() as patch:
        for name, value in (environment(config) | KERNELS).items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", folder)
        engine = build(config)
        assert isinstance(engine, Vllm)
        await engine.start()
        yield engine
        await engine.close()


@dataclass(frozen=True)
class Subject:
    """An engine with problems that it can work on. `endless` samples run long enough to be cancelled."""

    name: str
    engine: Engine
    problems: list[Problem]
    delimiter: str
    regex: str
    endless: Sampling

    def prompt(self, index: int = 0) -> list[int]:
        return self.engine.encode(self.problems[index].messages)


@pytest.fixture(scope="session")
def tiny_config() -> VllmEngine:
    return TINY


class Shared:
    """One real vLLM engine for all tests, started when the first of them asks; `drop` for who has broken it. What it
    has in the temporary folder is in `folder`."""

    def __init__(self, config: VllmEngine, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.engine: Engine | None = None

    async def get(self) -> Engine:
        if self.engine is None:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in KERNELS.items():
                    patch.setenv(name, value)
                patch.setattr(tempfile, "tempdir", str(self.folder))
                engine = build(self.config)
                await engine.start()
            self.engine = engine
        return self.engine

    async def drop(self) -> None:
        engine, self.engine = self.engine, None
        if engine is not None:
            await engine.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared(tiny_config: VllmEngine) -> AsyncIterator[Shared]:
    with tempfile.TemporaryDirectory(prefix="berry-") as folder:  # short, for sockets
        holder = Shared(tiny_config, Path(folder))
        yield holder
        await holder.drop()


@pytest_asyncio.fixture(loop_scope="session")
async def vllm_engine(shared: Shared) -> Engine:
    return await shared.get()


@pytest.fixture(scope="session")
def server_url(tiny_config: VllmEngine) -> Iterator[str]:
    """A real completions server of vLLM's on the tiny model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = (
        f"--host 127.0.0.1 --port {port} --dtype float32 --max-model-len {tiny_config.max_model_len} --block-size 32"
    )
    flags += " --max-num-seqs 32 --max-num-batched-tokens 2048 --enforce-eager --distributed-executor-backend uni"
    flags += " --logprobs-mode processed_logprobs"
    flags += f" --served-model-name tiny --enable-prompt-tokens-details --model {resolve('tiny-arithmetic')}"
    with tempfile.TemporaryDirectory(prefix="berry-", ignore_cleanup_errors=True) as scratch:  # short, for its sockets
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags.split(), "--no-enable-chunked-prefill"],
            env=os.environ | environment(tiny_config) | UNCOMPILED | {"TMPDIR": scratch, "VLLM_CPU_KVCACHE_SPACE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _await_server(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="session")
def sglang_url(server_url: str) -> Iterator[str]:
    """A server that answers as SGLang documents, with the same model behind it."""
    with sglang(server_url) as (server, _):
        yield server.url


def _await_server(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SERVER_START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"no server after {SERVER_START_S:.0f} s")


@pytest_asyncio.fixture(
    loop_scope="session",
    params=[
        "synthetic",
        "scripted",
        pytest.param("vllm", marks=[pytest.mark.slow, pytest.mark.engine]),
        pytest.param("http", marks=[pytest.mark.slow, pytest.mark.engine]),
        pytest.param("sglang", marks=[pytest.mark.slow, pytest.mark.engine]),
    ],
)
async def subject(request: pytest.FixtureRequest, shared: Shared) -> AsyncIterator[Subject]:
    """Every engine in turn."""
    name: str = request.param
    hot = Sampling(temperature=2.0)
    if name == "vllm":
        yield Subject(name, await shared.get(), arithmetic.draw(6, seed=9), "\n", r"=-?\d+\n", hot)
        return
    config: EngineConfig = SPEED
    problems, delimiter, regex = synthetic_problems(6, seed=9), "\n\n", r"\d+\n"
    if name in ("http", "sglang"):
        config = HttpEngine(
            url=request.getfixturevalue("server_url" if name == "http" else "sglang_url"),
            dialect="sglang" if name == "sglang" else "vllm",
            model="tiny",
            tokenizer="tiny-arithmetic",
            max_model_len=127,
            max_num_seqs=32,
            logprobs_mode="processed_logprobs",
        )
        problems, delimiter, regex = arithmetic.draw(6, seed=9), "\n", r"=-?\d+\n"
    if name == "scripted":
        engine = Scripted(lambda _, seed: f"First {seed % 7}, so 12\nthen 15\nThe answer is 15.", SPEED)
        delimiter, regex = "\n", r"\d+\n"
    else:
        engine = build(config)
    await engine.start()
    yield Subject(name, engine, problems, delimiter, regex, hot)
    await engine.close()


Sampled = dict[int, Completion]


@pytest.fixture
def sample() -> Callable[..., object]:
    """`await sample(engine, prompt_ids, …)`: all samples of one request, by index; each may come only once."""
    number = iter(range(10**6))

    async def run(
        engine: Engine,
        prompt_ids: list[int],
        *,
        n: int = 1,
        until: Until | None = None,
        sampling: Sampling | None = None,
        seed: int = 1,
        priority: float = 0.0,
        request_id: str | None = None,
        cancel_after_s: float | None = None,
    ) -> Sampled:
        request = Request(
            request_id=request_id or f"request-{next(number)}",
            prompt_ids=prompt_ids,
            n=n,
            until=until or Until(max_tokens=100),
            sampling=sampling or Sampling(),
            seed=seed,
            priority=priority,
        )
        cancelling = None
        if cancel_after_s is not None:

            async def cancel(after_s: float) -> None:
                await asyncio.sleep(after_s)
                await engine.cancel(request.request_id)

            cancelling = asyncio.ensure_future(cancel(cancel_after_s))
        found: Sampled = {}
        async for one in engine.generate(request):
            assert one.index not in found
            found[one.index] = one.completion
        if cancelling is not None:
            await cancelling
        return found

    return run


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    return Path(resolve("tiny-arithmetic"))


@pytest.fixture(scope="session")
def reference(tiny_folder: Path) -> Callable[..., Any]:
    """`reference(token_ids)`: transformers' log-probabilities (nats) of the tiny model, [tokens - 1, vocabulary]."""
    import torch
    from transformers import AutoModelForCausalLM

    def run(token_ids: list[int], folder: Path = tiny_folder) -> Any:
        with torch.no_grad():
            model = AutoModelForCausalLM.from_pretrained(folder)
            return model(torch.tensor([token_ids])).logits[0, :-1].log_softmax(-1)

    return run


@pytest.fixture(scope="session")
def drawn_from(reference: Callable[..., Any]) -> Callable[[list[int], Sampling], Any]:
    """As `reference`, of the distribution that a sampling draws from, by its definition: temperature, then tokens of at
    least min-p times the likeliest, then the top-k, then the fewest whose mass reaches top-p."""

    def run(token_ids: list[int], sampling: Sampling) -> Any:
        rows = reference(token_ids)
        if sampling.temperature == 0:  # nothing is drawn: the model's own
            return rows
        rows = (rows / sampling.temperature).log_softmax(-1)
        for row in rows:
            order = row.argsort(descending=True).tolist()
            kept = [t for t in order if row[t] >= row[order[0]] + math.log(max(sampling.min_p, 1e-30))]
            kept = kept[: sampling.top_k or None]
            share = [row[t].exp().item() for t in kept]
            before = [sum(share[:i]) / sum(share) for i in range(len(kept))]
            kept = [t for t, mass in zip(kept, before, strict=True) if mass < sampling.top_p]
            row[[t for t in order if t not in kept]] = -math.inf
        return rows.log_softmax(-1)

    return run


async def check_numbers(engine: Vllm, sample: Any, rows_of: Callable[[list[int]], Any], version: str) -> None:
    """That an engine samples with the log-probabilities (nats) of `rows_of`, and computes them so for given tokens."""
    prompt = engine.encode(arithmetic.draw(1, seed=9)[0].messages)
    for completion in (await sample(engine, prompt, n=4)).values():
        rows = rows_of([*prompt, *completion.token_ids])[len(prompt) - 1 :]
        expected = [rows[i, token].item() for i, token in enumerate(completion.token_ids)]
        assert completion.logprobs == pytest.approx(expected, abs=1e-4)
        assert await engine.logprobs(prompt, completion.token_ids, Sampling()) == pytest.approx(expected, abs=1e-4)
        assert completion.weights_version == version
