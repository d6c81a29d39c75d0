"""Fine-tuning the generator on examples: what is learned, what is not looked at, and that it can be repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from berry.pipeline.config.sections.rounds import PolicyTraining
from berry.pipeline.engines import models, vocabulary
from berry.pipeline.errors import EngineError
from berry.pipeline.rewards.training.examples import SftExample, sft_digest
from berry.pipeline.rewards.training.policy_trainer import IGNORED, collate, finetune
from berry.pipeline.stages.problems import arithmetic

TINY = models.resolve("tiny-arithmetic")


@pytest.fixture(scope="module")
def examples() -> list[SftExample]:
    speaks = vocabulary.of_folder(TINY)
    made: list[SftExample] = []
    for problem in arithmetic.draw(24, seed=5):
        prompt = [1, *speaks.encode(f"{problem.prompt}\n")]
        made.append(SftExample(tuple(prompt), (*speaks.encode(arithmetic.worked(str(problem.prompt))), 2)))
    return made


def test_only_the_response_is_learned() -> None:
    batch = collate([SftExample((5, 6, 7), (8, 9)), SftExample((5,), (8,))])
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, IGNORED, 8, 9], [IGNORED, 8, IGNORED, IGNORED, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]


@pytest.mark.slow
def test_lessons_become_likelier_and_the_same_seed_gives_the_same_weights(tmp_path: Path, examples) -> None:
    settings = PolicyTraining(epochs=3, batch_size=8, learning_rate=5e-4)
    model, figures = finetune(TINY, examples, settings, work=tmp_path / "a")
    assert figures["steps"] == 9
    assert figures["trajectories"] == 24
    untouched, _ = finetune(
        TINY, examples[:1], settings.model_copy(update={"learning_rate": 1e-12}), work=tmp_path / "b"
    )
    batch = collate(examples)
    with torch.inference_mode():
        assert model(**batch).loss < 0.8 * untouched(**batch).loss
    again, _ = finetune(TINY, examples, settings, work=tmp_path / "c")
    for mine, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_generator_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nowhere"):
        finetune(str(tmp_path / "nowhere"), [SftExample((1,), (2,))], PolicyTraining(), work=tmp_path / "w")


def test_a_digest_covers_where_it_starts_and_what_it_learns(examples) -> None:
    assert sft_digest("a", examples) == sft_digest("a", list(examples))
    assert len({sft_digest("a", examples), sft_digest("b", examples), sft_digest("a", examples[1:])}) == 3
