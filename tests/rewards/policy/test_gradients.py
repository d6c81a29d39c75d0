"""The gradient of a packed tree is that of its sequences one by one, for every objective."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

from berry.pipeline.config.sections.rounds import GrpoTraining
from berry.pipeline.engines import models
from berry.pipeline.rewards.packing.attention import flex_mask
from berry.pipeline.rewards.packing.layout import pack, pad
from berry.pipeline.rewards.packing.model_check import relative_difference, why_not_packed
from berry.pipeline.rewards.policy.examples import PolicySequence, SiblingPair, sequence
from berry.pipeline.rewards.policy.objectives.base import Batch, Objective
from berry.pipeline.rewards.policy.objectives.clipped_ratio import ClippedRatio
from berry.pipeline.rewards.policy.objectives.dpo import Dpo
from berry.pipeline.rewards.policy.objectives.sft import Sft
from berry.pipeline.rewards.policy.reference import reference_logprobs
from berry.pipeline.rewards.policy.trainer import _plain_loss


@pytest.fixture(scope="module")
def model() -> Any:
    return AutoModelForCausalLM.from_pretrained(models.resolve("tiny-arithmetic")).eval()


def _random_tree(seed: int, vocabulary: int) -> list[PolicySequence]:
    """Nine sequences of a tree of three levels. A shared token has one stored log-probability, and an advantage of its
    own in every sequence."""
    chance = random.Random(seed)
    prompt = [chance.randrange(3, vocabulary) for _ in range(7)]
    level: list[list[tuple[int, float]]] = [[]]

    def segment() -> list[tuple[int, float]]:
        return [(chance.randrange(3, vocabulary), chance.uniform(-6, -0.1)) for _ in range(chance.randrange(1, 9))]

    for _ in range(2):
        level = [[*above, *segment()] for above in level for _ in range(3)]
    return [
        sequence(
            prompt,
            [token for token, _ in way],
            weight=chance.uniform(0.2, 2),
            advantages=[chance.uniform(-2, 2) for _ in way],
            logprobs=[logprob for _, logprob in way],
        )
        for way in level
    ]


def _gradient(model: Any, objective: Objective, batches: list[Batch]) -> list[torch.Tensor]:
    model.zero_grad(set_to_none=True)
    for batch in batches:
        objective.loss(model, batch).backward()
    return [p.grad.detach().clone() for p in model.parameters()]


def _packed(sequences: list[PolicySequence], budget: int) -> list[Batch]:
    packs = pack([s.ids for s in sequences], budget, keys=[s.keys for s in sequences])
    return [Batch(made, [sequences[n] for n in made.members], temperature=0.8) for made in packs]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "objective",
    [Sft(), ClippedRatio(GrpoTraining(kl=0.1)), ClippedRatio(GrpoTraining(loss_mean="sequence", clip_high=0.05))],
    ids=["sft", "token mean and divergence", "sequence mean"],
)
@pytest.mark.parametrize("budget", [1000, 40])
def test_packed_and_one_by_one_are_the_same_gradient(model: Any, objective: Objective, seed: int, budget: int) -> None:
    sequences = _random_tree(seed, model.config.vocab_size)
    alone = [Batch(pad([s.ids]), [s], temperature=0.8) for s in sequences]
    packed = _packed(sequences, budget)
    assert (len(packed) == 1) is (budget == 1000)
    assert sum(b.pack.computed for b in packed) < sum(b.pack.computed for b in alone)
    if objective.needs_reference:
        noise = np.random.default_rng(seed).normal(0, 0.3, 64).astype(np.float32)

        def with_reference(batch: Batch) -> Batch:
            found = reference_logprobs(model, batch)
            return replace(
                batch, reference=[r + noise[s.ids % 64] for r, s in zip(found, batch.sequences, strict=True)]
            )

        alone, packed = [with_reference(b) for b in alone], [with_reference(b) for b in packed]
    wanted = _gradient(model, objective, alone)
    assert relative_difference(_gradient(model, objective, packed), wanted) < 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_preferences_too(model: Any, seed: int) -> None:
    sequences = _random_tree(seed, model.config.vocab_size)
    # Siblings of the last level, in threes.
    pairs = [(3 * n, 3 * n + 1) for n in range(3)] + [(0, 2)]
    shared = [_shared(sequences[a].ids, sequences[b].ids) for a, b in pairs]
    [made] = pack([s.ids for s in sequences], 1000)
    at = {member: number for number, member in enumerate(made.members)}
    batch = Batch(
        made,
        [sequences[n] for n in made.members],
        [SiblingPair(at[a], at[b], n) for (a, b), n in zip(pairs, shared, strict=True)],
    )
    alone = [
        Batch(pad([sequences[a].ids, sequences[b].ids]), [sequences[a], sequences[b]], [SiblingPair(0, 1, n)])
        for (a, b), n in zip(pairs, shared, strict=True)
    ]
    half = [replace(b, reference=[r * 0.9 for r in reference_logprobs(model, b)]) for b in (batch, *alone)]
    wanted = _gradient(model, Dpo(0.5), half[1:])
    assert relative_difference(_gradient(model, Dpo(0.5), half[:1]), wanted) < 1e-4


def _shared(a: np.ndarray, b: np.ndarray) -> int:
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def test_the_block_mask_of_gpus_allows_what_the_dense_one_does() -> None:
    [made] = pack([s.ids for s in _random_tree(1, 50)], 1000)
    assert made.ends is not None
    ends = torch.from_numpy(made.ends)
    numbers = torch.arange(len(ends))
    dense = (numbers[None, :] <= numbers[:, None]) & (numbers[:, None] < ends[None, :])
    mask = flex_mask(ends)
    looks_at = mask.mask_mod(torch.tensor(0), torch.tensor(0), numbers[:, None], numbers[None, :])
    assert torch.equal(looks_at, dense)
    assert mask.shape[-2:] == dense.shape


def test_a_model_that_reads_packs_otherwise_is_found_out(model: Any) -> None:
    assert why_not_packed(model, _plain_loss, vocabulary=model.config.vocab_size) is None

    class Deaf(GPTNeoXForCausalLM):
        """Ignores the mask that it is given."""

        def forward(self, *args: Any, attention_mask: Any = None, **more: Any) -> Any:
            del attention_mask
            return super().forward(*args, **more)

    torch.manual_seed(0)
    deaf = Deaf(
        GPTNeoXConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    )
    reason = why_not_packed(deaf, _plain_loss, vocabulary=50)
    assert reason is not None
    assert "relative" in reason
