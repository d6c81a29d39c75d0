"""Fine-tunes on kept responses: every token's negative log-probability, the same for all.

    loss = - sum over tokens of W_t log p(t | before)  /  sum of W_t        W_t: trajectories that go through t

Rejection sampling (Zelikman et al. 2022, "STaR"; Yuan et al. 2023). Degenerate case: a tree of one trajectory is plain
next-token training on its response.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from berry.pipeline.rewards.policy.examples import PolicySequence, SiblingPair
from berry.pipeline.rewards.policy.objectives.base import Batch, logprobs_of, on, wanted_tokens


class Sft:
    """The mean over all response tokens of a step."""

    needs_reference = False

    def mass(self, sequences: Sequence[PolicySequence], pairs: Sequence[SiblingPair]) -> float:
        """Response tokens, each as often as trajectories go through it."""
        del pairs
        return sum(one.weight * one.trained_tokens for one in sequences)

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Negative log-probabilities, weighted and summed."""
        weights = batch.pack.add_up([one.weight * one.trained for one in batch.sequences])
        wanted = wanted_tokens(weights)
        return -(logprobs_of(model, batch, wanted) * on(model, weights, wanted)).sum()
