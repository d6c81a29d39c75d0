"""A real engine with a LoRA adapter: its numbers are those of PEFT, and another adapter takes its place at run time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines import adapters
from berry.pipeline.engines.vllm.engine import Vllm
from berry.pipeline.errors import ConfigError
from berry.pipeline.records import Finish
from berry.pipeline.stages.problems import arithmetic
from tests.engines.conftest import check_numbers, loaded

loop = pytest.mark.asyncio(loop_scope="module")
real = [loop, pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def make_adapter(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """make_adapter(seed) -> folder of an adapter that changes what the tiny model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    def make(seed: int, rank: int = 4) -> str:
        torch.manual_seed(seed)
        targets = ["q_proj", "v_proj", "down_proj"]
        settings = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules=targets)
        model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), settings)
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.05)
        folder = tmp_path_factory.mktemp("adapter")
        model.save_pretrained(folder)
        return str(folder)

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def adapted(tiny_config: VllmEngine, make_adapter: Callable[..., str]) -> AsyncIterator[Vllm]:
    config = tiny_config.model_copy(update={"adapter": make_adapter(1)})
    async with loaded(config) as engine:
        yield engine


def of_peft(tiny_folder: Path, adapter: str, token_ids: list[int]) -> Any:
    """Log-probabilities (nats) of the tiny model with an adapter, [tokens - 1, vocabulary]."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder), adapter)
        return model(torch.tensor([token_ids])).logits[0, :-1].log_softmax(-1)


class TestEngine:
    pytestmark = real

    async def test_its_numbers_are_those_of_the_adapted_model(
        self, adapted: Vllm, sample: Any, tiny_folder: Path, reference: Any
    ):
        adapter = adapted._config.adapter
        assert adapter is not None
        await check_numbers(adapted, sample, lambda ids: of_peft(tiny_folder, adapter, ids), "v0")
        ids = adapted.encode(arithmetic.draw(1, seed=9)[0].messages)
        assert (of_peft(tiny_folder, adapter, ids) - reference(ids)).abs().max() > 0.05

    async def test_cancelled_samples_come_back_with_what_they_have(self, adapted: Vllm, sample: Any):
        prompt = adapted.encode(arithmetic.draw(1, seed=9)[0].messages)
        hot = Sampling(temperature=2.0)
        found = await sample(adapted, prompt, n=32, until=Until(100), sampling=hot, cancel_after_s=0.05)
        assert all(c.text == adapted.decode(c.token_ids) for c in found.values())
        assert {c.finish for c in found.values()} <= {Finish.CANCELLED, Finish.STOP, Finish.LENGTH}

    async def test_another_adapter_takes_its_place_and_a_larger_one_or_whole_weights_do_not(
        self, adapted: Vllm, sample: Any, tiny_folder: Path, make_adapter: Callable[..., str]
    ):
        other = make_adapter(2)
        prompt = adapted.encode(arithmetic.draw(1, seed=9)[0].messages)
        before = asyncio.ensure_future(sample(adapted, prompt, n=4))
        await asyncio.sleep(0)
        await adapted.load_weights(other, "v1")
        assert {c.finish for c in (await before).values()} == {Finish.STOP}
        for refused in (str(tiny_folder), make_adapter(3, rank=16)):
            with pytest.raises(ConfigError):
                await adapted.load_weights(refused, "v2")
        await check_numbers(adapted, sample, lambda ids: of_peft(tiny_folder, other, ids), "v1")


def test_what_is_no_plain_adapter_is_refused(tmp_path: Path, tiny_folder: Path):
    with pytest.raises(ConfigError, match=r"engine.adapter: .* has no readable adapter_config.json"):
        adapters.resolve(str(tiny_folder), key="engine.adapter")
    card = tmp_path / "adapter_config.json"
    card.write_text(json.dumps({"peft_type": "LORA", "r": 4, "use_dora": True}))
    with pytest.raises(ConfigError, match=r"no plain LoRA adapter .*use_dora True.*merge it"):
        adapters.resolve(str(tmp_path), key="engine.adapter")
    card.write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    with pytest.raises(ConfigError, match=r"has no adapter_model.safetensors"):
        adapters.resolve(str(tmp_path), key="engine.adapter")


@pytest.mark.parametrize(("own", "room"), [(1, 8), (8, 8), (9, 16), (500, 512)])
def test_an_engine_reserves_room_for_the_next_rank(tmp_path: Path, own: int, room: int):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": own}))
    assert adapters.engine_rank(str(tmp_path)) == room
