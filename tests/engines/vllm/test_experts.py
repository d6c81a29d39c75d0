"""A real engine of a mixture of experts, expert parallel as far as one process goes: its numbers are those of
transformers, samples end early, and other weights take the place of its own while it samples."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines.vllm.engine import Vllm
from berry.pipeline.records import Finish
from berry.pipeline.stages.problems import arithmetic
from tests.engines.conftest import check_numbers, loaded

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.engine,
    pytest.mark.timeout(900),
]


def mixture(folder: Path, tokens_of: Path, seed: int) -> str:
    """Writes 8 experts of which 2 take a token, 250 thousand random parameters, over the tiny model's tokens."""
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    spoken = json.loads((tokens_of / "config.json").read_text())
    torch.manual_seed(seed)
    settings = Qwen3MoeConfig(
        **{key: spoken.get(key) for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")},
        hidden_size=64,
        moe_intermediate_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        num_experts=8,
        num_experts_per_tok=2,
        max_position_embeddings=512,
        norm_topk_prob=True,
        initializer_range=0.2,  # else experts hardly differ, and nothing shows which of them were taken
    )
    Qwen3MoeForCausalLM(settings).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tokens_of / name, folder / name)
    return str(folder)


@pytest.fixture(scope="module")
def folders(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [mixture(tmp_path_factory.mktemp(f"mixture-{seed}"), tiny_folder, seed) for seed in (1, 2)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def experts(tiny_config: VllmEngine, folders: list[str]) -> AsyncIterator[Vllm]:
    config = tiny_config.model_copy(update={"model": folders[0], "extra": {"enable_expert_parallel": True}})
    async with loaded(config) as engine:
        yield engine


async def test_its_numbers_are_those_of_its_experts(
    experts: Vllm, sample: Any, reference: Callable[..., Any], folders: list[str]
):
    await check_numbers(experts, sample, lambda ids: reference(ids, Path(folders[0])), "v0")


async def test_cancelled_samples_come_back_with_what_they_have(experts: Vllm, sample: Any):
    prompt = experts.encode(arithmetic.draw(1, seed=9)[0].messages)
    found = await sample(
        experts, prompt, n=32, until=Until(100), sampling=Sampling(temperature=2.0), cancel_after_s=0.05
    )
    assert all(c.text == experts.decode(c.token_ids) for c in found.values())
    assert {c.finish for c in found.values()} <= {Finish.CANCELLED, Finish.STOP, Finish.LENGTH}


async def test_other_weights_take_their_place(
    experts: Vllm, sample: Any, reference: Callable[..., Any], folders: list[str]
):
    prompt = experts.encode(arithmetic.draw(1, seed=9)[0].messages)
    before = asyncio.ensure_future(sample(experts, prompt, n=4))
    await asyncio.sleep(0)
    await experts.load_weights(folders[1], "v1")
    assert len(await before) == 4
    await check_numbers(experts, sample, lambda ids: reference(ids, Path(folders[1])), "v1")
