"""Defines what an objective is: a number to be made small, summed over the tokens of a pack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from berry.pipeline.rewards.packing.attention import token_logprobs
from berry.pipeline.rewards.packing.layout import Floats, Pack
from berry.pipeline.rewards.policy.examples import PolicySequence, SiblingPair


@dataclass(frozen=True, slots=True)
class Batch:
    """One pass: a pack and what its sequences teach. `pairs` are numbers among `sequences`; `reference` has, for each,
    the log-probability of every token under the reference weights, where the objective asks for it. `temperature`
    divides the logits, as where the sequences were sampled."""

    pack: Pack
    sequences: Sequence[PolicySequence]
    pairs: Sequence[SiblingPair] = ()
    reference: Sequence[Floats] | None = None
    temperature: float = 1.0


class Objective(Protocol):
    """`needs_reference`: whether `Batch.reference` is read."""

    needs_reference: bool

    def mass(self, sequences: Sequence[PolicySequence], pairs: Sequence[SiblingPair]) -> float:
        """What the loss of a step is divided by; 0 where these teach nothing. It adds up over batches."""
        ...

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The sum over the batch, a scalar, not yet divided: for the sum of a step's batches it is that of the same
        sequences read one by one."""
        ...


def wanted_tokens(weights: Floats) -> torch.Tensor:
    """Numbers of the tokens of a pack that weigh something: [W], ascending."""
    return torch.from_numpy(np.flatnonzero(weights))


def logprobs_of(model: Any, batch: Batch, wanted: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of wanted tokens [W]; one zero with a gradient of zeros where there are none. That takes a pass
    too: processes that train together have to make the same ones."""
    if not len(wanted):
        any_token = torch.from_numpy(np.flatnonzero(batch.pack.parents >= 0)[:1])
        return token_logprobs(model, batch.pack, any_token, batch.temperature) * 0.0
    return token_logprobs(model, batch.pack, wanted, batch.temperature)


def on(model: Any, values: Floats, wanted: torch.Tensor) -> torch.Tensor:
    """Numbers of wanted tokens, [W], on the model's device."""
    return torch.from_numpy(values)[wanted].to(next(model.parameters()).device)
