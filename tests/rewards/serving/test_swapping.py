from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from berry.pipeline.config.sections.rewards import Rewards, ServedReward
from berry.pipeline.config.sections.rollout.rollout import DelimiterStep, Rollout
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.errors import BerryError, ConfigError, EngineError
from berry.pipeline.rewards.model.blend import Blend, Evidence
from berry.pipeline.rewards.model.card import NAME, Card
from berry.pipeline.rewards.serving.service import RewardModels

GENERATOR = Vocabulary("ours", 40, lambda ids: " ".join(map(str, ids)), lambda text: [int(t) for t in text.split()])


def carded(folder: str, version: str, vocabulary: str = "ours", blend: Blend | None = None) -> str:
    card = Card(what="prm", version=version, backbone="fresh", vocabulary=vocabulary, blend=blend)
    (Path(folder) / NAME).write_text(card.to_json())
    return folder


@pytest.fixture
def serving(saved):
    """Reward models that serve `versions[0]`, and the folders of all."""

    async def start(count: int = 3) -> tuple[RewardModels, list[str]]:
        folders = [carded(saved(f"m{i}", seed=i), f"v{i}") for i in range(count)]
        served = ServedReward(model=folders[0], backend="transformers", max_wait_ms=1, keep_tokens=4000)
        models = RewardModels(Rewards(prm=served), Rollout(step=DelimiterStep()), GENERATOR)
        await models.start()
        return models, folders

    return start


async def test_twenty_swaps_under_load_lose_nothing_and_mix_nothing(serving, tiny_model, alone) -> None:
    models, folders = await serving()
    originals = [tiny_model(i) for i in range(len(folders))]
    rng = random.Random(0)
    prompts = [[rng.randrange(1, 40) for _ in range(12)] for _ in range(4)]
    truth: dict[tuple[int, str], float] = {}
    for p, ids in enumerate(prompts):
        for v, model in enumerate(originals):
            truth[p, f"v{v}"] = alone(model, ids)
    asked = answered = 0
    seen: set[str] = set()
    stop = False

    async def load() -> None:
        nonlocal asked, answered
        while not stop:
            p = asked % len(prompts)
            asked += 1
            value, version = await models.score_with_version(
                model="prm", prompt_ids=prompts[p][:6], response_ids=prompts[p][6:]
            )
            assert value == pytest.approx(truth[p, version], abs=2e-5), "a value of other weights, or of a stale prefix"
            seen.add(version)
            answered += 1

    callers = [asyncio.create_task(load()) for _ in range(6)]
    for swap in range(1, 21):
        version = swap % len(folders)
        await models.load_weights("prm", folders[version], f"v{version}")
        value, said = await models.score_with_version(
            model="prm", prompt_ids=prompts[0][:6], response_ids=prompts[0][6:]
        )
        assert said == f"v{version}"
        assert value == pytest.approx(truth[0, said], abs=2e-5)
    stop = True
    await asyncio.gather(*callers)
    assert answered == asked > 100
    assert seen == {"v0", "v1", "v2"}
    await models.close()


@pytest.mark.parametrize("damage", ["half", "shape", "vocabulary", "gone"])
async def test_a_failed_load_leaves_the_old_weights_serving(serving, damage) -> None:
    models, folders = await serving(2)
    before = await models.score_with_version(model="prm", prompt_ids=[1, 2], response_ids=[3])
    weights = Path(folders[1]) / "model.safetensors"
    if damage == "half":
        weights.write_bytes(weights.read_bytes()[:500])
    elif damage == "shape":
        tensors = load_file(weights)
        tensors["score.weight"] = tensors["score.weight"][:, :3].clone()
        save_file(tensors, weights, metadata={"format": "pt"})
    elif damage == "vocabulary":
        carded(folders[1], "v1", vocabulary="theirs")
    else:
        weights.unlink()
    with pytest.raises((EngineError, ConfigError)) as raised:
        await models.load_weights("prm", folders[1], "v1")
    assert isinstance(raised.value, BerryError)
    assert await models.score_with_version(model="prm", prompt_ids=[1, 2], response_ids=[3]) == before
    assert models.versions() == {"prm": "v0"}
    await models.close()


async def test_a_blend_comes_and_goes_with_the_weights_it_was_fitted_for(serving) -> None:
    models, folders = await serving(2)
    asked: dict[str, Any] = {"model": "prm", "prompt_ids": [1, 2], "response_ids": [3, 4]}
    old, _ = await models.score_with_version(**asked)
    assert await models.score_with_version(**asked, logprob=-9.0) == (old, "v0"), "v0 has none"
    blend = Blend(1.0, 0.5, 2.0, 0.1)
    carded(folders[1], "v1", blend=blend)
    await models.load_weights("prm", folders[1], "v1")
    alone, _ = await models.score_with_version(**asked)
    value, version = await models.score_with_version(**asked, logprob=-3.0)
    assert (value, version) == (pytest.approx(blend.value(alone, Evidence(-3.0, 2))), "v1")
    assert value != pytest.approx(alone)
    await models.load_weights("prm", folders[0], "v0")
    assert await models.score_with_version(**asked, logprob=-9.0) == (pytest.approx(old), "v0")
    await models.close()


@pytest.mark.parametrize("setting", [{"activation": "identity"}, {"blend": False}])
async def test_an_output_wanted_as_it_is_is_not_joined_with_anything(saved, setting) -> None:
    folder = carded(saved("m"), "v", blend=Blend(1.0, 5.0, 0.0, 0.0))
    served = ServedReward(model=folder, backend="transformers", **setting)
    models = RewardModels(Rewards(orm=served), Rollout(step=DelimiterStep()), GENERATOR)
    await models.start()
    asked: dict[str, Any] = {"model": "orm", "prompt_ids": [1], "response_ids": [2]}
    assert await models.score(**asked, logprob=-5.0) == await models.score(**asked)
    await models.close()


async def test_taking_what_serves_already_does_nothing_and_a_new_model_is_loaded(serving) -> None:
    models, folders = await serving(2)
    await models.load_weights("prm", "/nowhere", "v0")
    with pytest.raises(EngineError, match=r"rewards\.orm is not set"):
        await models.score(model="orm", prompt_ids=[1], response_ids=[2])
    await models.load_weights("orm", folders[1], "v1")
    assert models.versions() == {"prm": "v0", "orm": "v1"}
    assert 0 < await models.score(model="orm", prompt_ids=[1], response_ids=[2]) < 1
    await models.close()


async def test_a_tree_is_scored_across_problems_in_shared_batches(serving) -> None:
    models, _ = await serving(1)
    rng = random.Random(1)
    prompts = [[rng.randrange(1, 40) for _ in range(10)] for _ in range(8)]
    await asyncio.gather(
        *(
            models.score(model="prm", prompt_ids=p, response_ids=[n] * k)
            for p in prompts
            for n in range(3)
            for k in (1, 2, 3)
        )
    )
    counts = models.counts()["prm"]
    assert counts.requests == 72
    assert counts.batches < 24
    assert counts.computed_tokens == 8 * (10 + 3 * 3)
    assert counts.naive_tokens > 4 * counts.computed_tokens
    await models.close()
