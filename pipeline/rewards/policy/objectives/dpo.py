"""Prefers, of two responses that share a prefix, the one whose next step is worth more.

    loss = - sum over pairs of log sigmoid(beta · (D(chosen) - D(rejected)))
    D(y) = sum over the tokens of y behind the shared prefix of log p(t) - log p_reference(t)

Direct preference optimisation (Rafailov et al. 2023) on siblings of a tree; the shared prefix has the same terms on
both sides and falls out. Degenerate case: before the first step p is the reference, and every pair's loss is log 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from berry.pipeline.rewards.policy.examples import PolicySequence, SiblingPair
from berry.pipeline.rewards.policy.objectives.base import Batch, logprobs_of, on


class Dpo:
    """The mean over the pairs of a step."""

    needs_reference = True

    def __init__(self, beta: float) -> None:
        self._beta = beta

    def mass(self, sequences: Sequence[PolicySequence], pairs: Sequence[SiblingPair]) -> float:
        """Weight of a batch in the mean loss: its number of pairs."""
        del sequences
        return float(len(pairs))

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The pairs' losses, summed."""
        assert batch.reference is not None, "preferences are told against the reference weights"
        pack = batch.pack
        wanted = torch.from_numpy(np.flatnonzero(pack.add_up([one.trained for one in batch.sequences])))
        gained = logprobs_of(model, batch, wanted) - on(model, pack.take(batch.reference), wanted)
        ratios = torch.zeros(pack.ids.size, dtype=gained.dtype, device=gained.device)
        ratios = ratios.index_put((wanted.to(gained.device),), gained)
        sides = [self._behind(ratios, batch, pair) for pair in batch.pairs]
        return -functional.logsigmoid(self._beta * torch.stack(sides)).sum()

    def _behind(self, ratios: torch.Tensor, batch: Batch, pair: SiblingPair) -> torch.Tensor:
        chosen, rejected = (
            torch.from_numpy(batch.pack.places[number][pair.shared :]).to(ratios.device)
            for number in (pair.chosen, pair.rejected)
        )
        return ratios[chosen].sum() - ratios[rejected].sum()
