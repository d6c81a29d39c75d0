"""Small value models with random weights, and sequences that branch like trees of steps."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from berry.pipeline.config.sections.rewards import FreshBackbone
from berry.pipeline.rewards.model.loading import fresh
from berry.pipeline.rewards.model.value_model import ValueModel

VOCABULARY = 40


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny_model() -> Callable[..., ValueModel]:
    def make(seed: int = 0, *, max_tokens: int = 256) -> ValueModel:
        model = fresh(
            FreshBackbone(layers=2, hidden=16, heads=2, max_tokens=max_tokens), vocabulary_size=VOCABULARY, seed=seed
        )
        with torch.no_grad():
            next(model.head.parameters()).normal_(std=3.0, generator=torch.Generator().manual_seed(seed))
        return model.eval()

    return make


@pytest.fixture
def alone() -> Callable[[ValueModel, list[int]], float]:
    """The value of one sequence by one plain pass: what every cleverer way must equal."""

    def value(model: ValueModel, ids: list[int]) -> float:
        with torch.inference_mode():
            tensor = torch.tensor([ids])
            return float(model.values(model(tensor, torch.ones_like(tensor)))[0, -1])

    return value


@pytest.fixture
def tree_of_ids() -> Callable[..., list[list[int]]]:
    """Prefixes of a tree in the order in which a search would score them: the nodes of each depth in turn."""

    def make(
        seed: int = 0, *, prompt: int = 20, step: int = 6, branching: tuple[int, ...] = (4, 2, 2)
    ) -> list[list[int]]:
        rng = random.Random(seed)
        level = [[rng.randrange(1, VOCABULARY) for _ in range(prompt)]]
        prefixes: list[list[int]] = []
        for width in branching:
            level = [
                [*ids, *(rng.randrange(1, VOCABULARY) for _ in range(step + rng.randrange(3)))]
                for ids in level
                for _ in range(width)
            ]
            prefixes.extend(level)
        return prefixes

    return make


@pytest.fixture
def saved(tmp_path: Path, tiny_model: Callable[..., ValueModel]) -> Callable[..., str]:
    """A value model in a folder, as transformers saves it."""

    def save(name: str = "model", seed: int = 0, **options: Any) -> str:
        folder = tmp_path / name
        tiny_model(seed, **options).inner.save_pretrained(folder)
        return str(folder)

    return save
