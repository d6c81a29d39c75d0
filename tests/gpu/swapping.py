"""New weights under load: every completion comes from one set of weights, and from the one it says."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from logprobs import differences, reader
from part import Figure, Here, at_least, at_most

Found = tuple[list[Figure], dict[str, Any]]
VERSIONS = 3
CALLERS = 8
PROBED = 4  # completions of each version that are read back
MEMORY_SHARE = 0.8
TOLERANCE = {"float32": 0.02, "bfloat16": 0.15}  # nats a token, against transformers in float32 on cores


def tiny(here: Here) -> Found:
    return asyncio.run(_swap(here, "tiny-arithmetic", "float32"))


def smollm2(here: Here) -> Found:
    return asyncio.run(_swap(here, "smollm2-135m", "bfloat16"))


async def _swap(here: Here, model: str, dtype: Any) -> Found:
    from berry.pipeline.config.sections.engine import VllmEngine
    from berry.pipeline.core.events import Sampling, Until
    from berry.pipeline.engines import models
    from berry.pipeline.engines.base import Request
    from berry.pipeline.engines.vllm.engine import Vllm
    from berry.pipeline.stages.problems import arithmetic

    folders = [_scaled(Path(models.resolve(model)), here.work / "weights" / model, i) for i in range(VERSIONS)]
    seqs = here.sizes.seqs
    engine = Vllm(
        VllmEngine(model=model, dtype=dtype, max_model_len=256, max_num_seqs=seqs, gpu_memory_utilization=MEMORY_SHARE)
    )
    await engine.start()
    prompts = [engine.encode(problem.messages) for problem in arithmetic.draw(32, seed=3)]
    seen: dict[str, list[tuple[list[int], Any]]] = {}
    asked, waits, running = 0, [], True

    async def load(caller: int) -> None:
        nonlocal asked
        while running:
            asked += 1
            prompt, seed = prompts[asked % len(prompts)], asked * seqs
            request = Request(f"load-{asked}", prompt, max(1, seqs // CALLERS), Until(32), Sampling(), seed)
            async for sample in engine.generate(request):
                seen.setdefault(sample.completion.weights_version, []).append((prompt, sample.completion))

    try:
        await engine.load_weights(str(folders[0]), "v0")
        began, callers = time.monotonic(), [asyncio.create_task(load(i)) for i in range(CALLERS)]
        for turn in range(1, here.sizes.swaps + 1):
            await asyncio.sleep(1)
            started, version = time.monotonic(), turn % VERSIONS
            await engine.load_weights(str(folders[version]), f"v{version}")
            waits.append(time.monotonic() - started)
        await asyncio.sleep(1)
        running = False
        await asyncio.gather(*callers)
        wall_s = time.monotonic() - began
    finally:
        await engine.close()
    apart = {version: _apart(folders[int(version[1:])], found) for version, found in sorted(seen.items())}
    tokens = sum(len(c.token_ids) for found in seen.values() for _, c in found)
    figures = [
        at_least("swaps", len(waits), here.sizes.swaps),
        at_least("versions seen", len(seen), VERSIONS),
        at_most("nats apart from the version's own", max(apart.values()), TOLERANCE[dtype]),
        Figure("s a swap", statistics.median(waits)),
        Figure("tokens/s meanwhile", tokens / wall_s),
    ]
    counts = {version: len(found) for version, found in seen.items()}
    return figures, {"waits_s": waits, "completions": counts, "requests": asked, "apart_nats": apart}


def _scaled(origin: Path, home: Path, index: int) -> Path:
    """The model with every weight a little smaller: other log-probabilities, the same shape."""
    from safetensors.torch import load_file, save_file

    folder = home / f"v{index}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(origin, folder)
    for file in folder.glob("*.safetensors"):
        weights = {name: value * (1 - 0.05 * index) for name, value in load_file(file).items()}
        save_file(weights, file, metadata={"format": "pt"})
    return folder


def _apart(folder: Path, found: list[tuple[list[int], Any]]) -> float:
    """Largest mean difference, over some completions, of their log-probabilities to those transformers gives."""
    from berry.pipeline.core.events import Sampling

    model, probed = reader(str(folder)), found[:: max(1, len(found) // PROBED)]
    means = [
        statistics.mean(differences(model, prompt, completion, Sampling()))
        for prompt, completion in probed
        if completion.token_ids
    ]
    return max(means, default=0.0)
