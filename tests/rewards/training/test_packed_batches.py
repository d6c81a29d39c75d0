"""A value model trained on packed trees gets the gradients, the loss and the values of the trajectories one by one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from berry.pipeline.config.sections.rewards import FreshBackbone, RewardTraining
from berry.pipeline.engines import models
from berry.pipeline.errors import ConfigError
from berry.pipeline.rewards.model.loading import begin, fresh
from berry.pipeline.rewards.model.value_model import ValueModel
from berry.pipeline.rewards.packing.model_check import relative_difference
from berry.pipeline.rewards.training.evaluation import score_paths
from berry.pipeline.rewards.training.examples import LabelBalance, LabelledPath, TrainingSequence
from berry.pipeline.rewards.training.packed_batches import logits_at, neighbours, passes, why_values_not_packed
from berry.pipeline.rewards.training.reward_trainer import train, weighted_loss

BACKBONE = FreshBackbone(layers=2, hidden=16, heads=2, max_tokens=128)
BALANCE = LabelBalance(0.7, 1.6)


def tree(seed: int, vocabulary: int) -> list[TrainingSequence]:
    """Nine trajectories of one prompt that share steps. Each label stands once, at the first that shows it."""
    chance = random.Random(seed)
    prompt = tuple(chance.randrange(3, vocabulary) for _ in range(8))
    ways: list[tuple[tuple[int, ...], tuple[int, ...]]] = [(prompt, ())]
    for _ in range(2):
        grown = []
        for ids, ends in ways:
            for _ in range(3):
                longer = (*ids, *(chance.randrange(3, vocabulary) for _ in range(chance.randrange(1, 7))))
                grown.append((longer, (*ends, len(longer) - 1)))
        ways = grown
    seen: set[tuple[int, ...]] = set()
    rows = []
    for ids, ends in ways:
        new = [end for end in ends if ids[: end + 1] not in seen]
        seen.update(ids[: end + 1] for end in new)
        targets, weights = (tuple(chance.random() for _ in new) for _ in range(2))
        rows.append(TrainingSequence(ids, tuple(new), targets, weights))
    chance.shuffle(rows)
    return rows


def gradient(model: ValueModel, rows: list[TrainingSequence], *, pack_tokens: int | None) -> list[torch.Tensor]:
    model.zero_grad(set_to_none=True)
    for some in [rows] if pack_tokens else [[row] for row in rows]:
        for one in passes(some, pack_tokens=pack_tokens):
            weighted_loss(logits_at(model, one.pack, one.places), one, BALANCE).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in model.parameters()]


def value_model(name: str) -> ValueModel:
    model = begin(models.resolve(name))
    with torch.no_grad():  # a head that starts from nothing gives the backbone no gradient
        next(model.head.parameters()).normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    return model.eval()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pack_tokens", [1000, 30])
def test_a_packed_tree_has_the_gradient_of_its_trajectories(seed: int, pack_tokens: int) -> None:
    model = value_model("tiny-arithmetic")
    rows = tree(seed, model.vocabulary_size)
    assert (len(list(passes(rows, pack_tokens=pack_tokens))) == 1) is (pack_tokens == 1000)
    wanted = gradient(model, rows, pack_tokens=None)
    assert max(float(g.abs().max()) for g in wanted) > 1e-3
    assert relative_difference(gradient(model, rows, pack_tokens=pack_tokens), wanted) < 1e-4


@pytest.mark.slow
def test_so_it_is_with_a_model_of_135_million_parameters() -> None:
    model = value_model("smollm2-135m")
    rows = tree(7, model.vocabulary_size)
    wanted = gradient(model, rows, pack_tokens=None)
    assert relative_difference(gradient(model, rows, pack_tokens=1000), wanted) < 1e-4


def test_neighbours_share_prefixes_and_each_row_is_in_one_group() -> None:
    rows = [*tree(1, 40), *tree(2, 40)]
    random.Random(0).shuffle(rows)
    grouped = [[rows[i] for i in some] for some in neighbours(rows, 4)]
    assert sorted(row.ids for group in grouped for row in group) == sorted(row.ids for row in rows)
    assert sorted(n for some in neighbours(rows, 4) for n in some) == list(range(len(rows)))
    read = sum(one.pack.computed for group in grouped for one in passes(group, pack_tokens=1000))
    assert read < 0.75 * sum(len(row.ids) for row in rows)


def test_a_row_longer_than_a_pass_is_a_pass_of_its_own() -> None:
    rows = [
        TrainingSequence(tuple(range(3, 33)), (29,), (1.0,), (1.0,)),
        TrainingSequence((3, 9), (1,), (0.0,), (1.0,)),
    ]
    assert sorted(one.pack.computed for one in passes(rows, pack_tokens=16)) == [2, 30]


def test_values_are_the_same_packed_and_padded(tiny_model: Any) -> None:
    model = tiny_model()
    paths = [
        LabelledPath(
            problem_id="p",
            trajectory_id=str(number),
            round_index=0,
            prompt_ids=row.ids[:8],
            response_ids=row.ids[8:],
            ends=(1, len(row.ids) - 8) if len(row.ids) > 9 else (1,),
            soft=(None, None),
            hard=(None, None),
            visits=(0, 0),
            first=(True, True),
            passed=True,
            answer=None,
        )
        for number, row in enumerate(tree(3, 40))
    ]
    packed, padded = (score_paths(model, paths, packed=on, batch_tokens=64) for on in (True, False))
    assert [len(scores) for scores in packed] == [len(path.ends) for path in paths]
    for one, other in zip(packed, padded, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_training_packed_goes_the_way_of_training_padded(tmp_path: Path) -> None:
    rows = [row for seed in range(6) for row in tree(seed, 40)]
    one_batch = {"batch_size": len(rows), "epochs": 3.0, "learning_rate": 1e-3, "backbone": BACKBONE}
    ends = {}
    for packing in ("always", "never"):
        model = fresh(BACKBONE, vocabulary_size=40, seed=0)
        settings = RewardTraining(**one_batch, packing=packing, evaluate_every=1.0)  # type: ignore[arg-type]
        ends[packing] = train(model, rows, rows[:20], settings, work=tmp_path / packing, data="d")
    packed, padded = ends["always"], ends["never"]
    assert packed.packed
    assert not padded.packed
    assert padded.why_not_packed == "rewards.training.packing is never"
    assert packed.tokens == padded.tokens == padded.computed_tokens == sum(len(row.ids) for row in rows)
    assert packed.computed_tokens < 0.7 * packed.tokens
    assert packed.best_loss == pytest.approx(padded.best_loss, rel=0.02)


def test_an_encoder_is_read_padded_and_refused_where_packs_are_demanded(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=1
    )
    model = ValueModel(BertForSequenceClassification(config).eval(), causal=False)
    assert "encoder" in str(why_values_not_packed(model))
    settings = RewardTraining(packing="always")
    with pytest.raises(ConfigError, match=r"rewards\.training\.packing is always.*encoder"):
        train(model, tree(0, 40), tree(1, 40), settings, work=tmp_path, data="d")
