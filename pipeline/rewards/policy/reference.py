"""Reads sequences with weights that are not trained: what they say is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from berry.pipeline.rewards.packing.attention import token_logprobs
from berry.pipeline.rewards.packing.layout import Floats
from berry.pipeline.rewards.policy.objectives.base import Batch

KnownLogprobs = dict[tuple[int, int], list[Floats]]
"""By step and pass: what each sequence's tokens are to a reference that has read them already, in nats."""


class _ReferenceCount(Protocol):
    reference_tokens: int


@dataclass(slots=True)
class ReferenceModel:
    """Weights that are not trained. `known`: what they have said of passes before the first step; a pass is looked up
    once. `figures` counts the tokens that they read."""

    model: Any
    known: KnownLogprobs
    figures: _ReferenceCount

    def add_to(self, batch: Batch, step: int, at: int) -> Batch:
        """A pass of a step with what these weights say of it."""
        found = self.known.pop((step, at), None)
        if found is None:
            found = reference_logprobs(self.model.eval(), batch)
            self.figures.reference_tokens += batch.pack.computed
        return replace(batch, reference=found)


def reference_logprobs(model: Any, batch: Batch) -> list[Floats]:
    """Log-probability of every trained token of each sequence under the model as it is, in nats; 0 elsewhere."""
    pack = batch.pack
    wanted = torch.from_numpy(np.flatnonzero(pack.add_up([one.trained for one in batch.sequences])))
    found = np.zeros(pack.ids.size, np.float32)
    with torch.no_grad():
        found[wanted.numpy()] = token_logprobs(model, pack, wanted, batch.temperature).float().cpu().numpy()
    return [found[places] for places in pack.places]


def gap(batch: Batch, logprobs: Sequence[Floats]) -> tuple[float, int]:
    """Nats by which these differ from the stored ones, summed over the trained tokens, and how many those are."""
    apart, tokens = 0.0, 0
    for one, found in zip(batch.sequences, logprobs, strict=True):
        assert one.logprobs is not None, "only sampled sequences with stored log-probabilities are compared"
        apart += float((np.abs(found - one.logprobs) * one.trained).sum())
        tokens += one.trained_tokens
    return apart, tokens
