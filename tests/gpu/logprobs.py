"""Stored log-probabilities against those that the same weights give when they read the answer, of each distribution
that was drawn from."""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

from part import Figure, Here, at_least, at_most

Found = tuple[list[Figure], dict[str, Any]]
NATS = 1e-3  # float32, two implementations of attention
EDGE_SHARE = 0.01  # at the edge of top-p a last bit moves a token in or out, and so all others of its place
TOKENS = 48


def smollm2(here: Here) -> Found:
    return asyncio.run(_compare(here, "smollm2-135m"))


async def _compare(here: Here, model: str) -> Found:
    from berry.pipeline.config.sections.engine import VllmEngine
    from berry.pipeline.core.events import Sampling, Until
    from berry.pipeline.engines import models
    from berry.pipeline.engines.base import Request
    from berry.pipeline.engines.vllm.engine import Vllm
    from berry.pipeline.stages.problems import arithmetic

    seqs, samples = here.sizes.seqs, 4
    engine = Vllm(
        VllmEngine(model=model, dtype="float32", max_model_len=256, max_num_seqs=seqs, gpu_memory_utilization=0.5)
    )
    await engine.start()
    try:
        prompts = [engine.encode(problem.messages) for problem in arithmetic.draw(here.sizes.probed // samples, seed=3)]
        drawn: dict[str, list[tuple[list[int], Any, Sampling]]] = {}
        for name, sampling in {
            "temperature 1": Sampling(temperature=1.0),
            "temperature 0.7, top-p 0.95": Sampling(temperature=0.7, top_p=0.95),
        }.items():
            found = drawn.setdefault(name, [])

            async def ask(number: int, prompt: list[int], sampling: Sampling, found: list[Any]) -> None:
                request = Request(f"{number}", prompt, samples, Until(TOKENS), sampling, number * samples)
                async for sample in engine.generate(request):
                    found.append((prompt, sample.completion, sampling))

            await asyncio.gather(*(ask(i, prompt, sampling, found) for i, prompt in enumerate(prompts)))
    finally:
        await engine.close()
    apart = {
        name: _apart(models.resolve(model), found, "cuda" if here.on_gpu else "cpu") for name, found in drawn.items()
    }
    figures: list[Figure] = []
    for name, differences in apart.items():
        outside = sum(1 for one in differences if one > NATS) / len(differences)
        figures.append(at_least(f"{name}: tokens", len(differences), 1))
        figures.append(at_most(f"{name}: median nats apart", statistics.median(differences), NATS))
        figures.append(at_most(f"{name}: share further apart", outside, EDGE_SHARE if "top-p" in name else 0))
    return figures, {name: {"largest": max(found), "tokens": len(found)} for name, found in apart.items()}


def _apart(folder: str, found: list[tuple[list[int], Any, Any]], device: str) -> list[float]:
    """Differences, a token, of all answers."""
    model = reader(folder, device)
    return [one for answer in found if answer[1].token_ids for one in differences(model, *answer)]


def reader(folder: str, device: str = "cpu") -> Any:
    """The model in transformers and float32."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()


def differences(model: Any, prompt: list[int], completion: Any, sampling: Any) -> list[float]:
    """Of each token's log-probability to what the model gives it in the distribution that was drawn from."""
    import torch

    ids = torch.tensor([[*prompt, *completion.token_ids]], device=model.device)
    with torch.inference_mode():
        rows = (model(ids).logits[0, len(prompt) - 1 : -1] / sampling.temperature).log_softmax(-1)
    if sampling.top_p < 1:
        ordered, order = rows.sort(descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()  # the mass of what is likelier
        cut = torch.zeros_like(rows, dtype=torch.bool).scatter(1, order, before >= sampling.top_p)
        rows = rows.masked_fill(cut, -float("inf")).log_softmax(-1)
    own = rows.gather(1, ids[0, len(prompt) :, None])[:, 0].cpu()
    return (own - torch.tensor(completion.logprobs)).abs().tolist()
