"""Weighs policy gradients by how far the weights have moved from those that sampled, and no further than a clip.

    r_t  = p(t | before) / p_sampled(t | before)                     the second is stored with every sampled token
    loss = - sum of W_t A_t min(r_t, 1 + high)               where A_t > 0
           + sum of W_t |A_t| min(max(r_t, 1 - low), most)   where A_t < 0
           + kl · sum of W_t (exp(d_t) - d_t - 1)            d_t = log p_reference(t) - log p(t)

The clipped surrogate of PPO (Schulman et al. 2017) a token, with the second clip of Ye et al. (2020) for negative
advantages, and Schulman's estimator k3 of the divergence. Trajectories that share a token may have advantages of both
signs there, so that the two parts are added up apart: packed and one by one are the same sum. Where the weights are
still those that sampled, r_t = 1 and the gradient is that of REINFORCE with these advantages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from berry.pipeline.config.sections.rounds import PolicyGradientTraining
from berry.pipeline.errors import InputError
from berry.pipeline.rewards.packing.layout import Floats
from berry.pipeline.rewards.policy.examples import PolicySequence, SiblingPair
from berry.pipeline.rewards.policy.objectives.base import Batch, logprobs_of, on


class ClippedRatio:
    """The loss that `grpo` and `tree` share; they differ in the advantages that come with the sequences. `most_drift`:
    nats a token by which a pass's log-probabilities may differ from the stored ones, in the mean, without an end of the
    training."""

    def __init__(self, settings: PolicyGradientTraining, *, most_drift: float = math.inf) -> None:
        self._settings = settings
        self._most_drift = most_drift
        self.needs_reference = settings.kl > 0

    def mass(self, sequences: Sequence[PolicySequence], pairs: Sequence[SiblingPair]) -> float:
        """Weights of the tokens that the loss counts."""
        del pairs
        return sum(float(self._weights(one).sum()) for one in sequences)

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """The clipped surrogate and the divergence, summed. Raises InputError where the ratios have exploded."""
        settings = self._settings
        weights = [self._weights(one) for one in batch.sequences]
        weighted = [w * _advantages(one) for w, one in zip(weights, batch.sequences, strict=True)]
        good = batch.pack.add_up([a.clip(min=0) for a in weighted])
        bad = batch.pack.add_up([-a.clip(max=0) for a in weighted])
        every = batch.pack.add_up(weights)
        counts = every if self.needs_reference else good + bad
        wanted = torch.from_numpy(np.flatnonzero(counts))
        now = logprobs_of(model, batch, wanted)
        if not len(wanted):
            return now.sum()
        stored = on(model, batch.pack.take([_logprobs(s) for s in batch.sequences]), wanted)
        self._check_drift(now.detach() - stored)
        ratio = (now - stored).exp()
        pulled_up = on(model, good, wanted) * ratio.clamp(max=1 + settings.clip_high)
        pushed_down = on(model, bad, wanted) * ratio.clamp(1 - settings.clip_low, settings.max_ratio)
        loss = (pushed_down - pulled_up).sum()
        if batch.reference is not None and self.needs_reference:
            apart = on(model, batch.pack.take(batch.reference), wanted) - now
            loss = loss + settings.kl * (on(model, every, wanted) * (apart.exp() - apart - 1)).sum()
        return loss

    def _check_drift(self, apart: torch.Tensor) -> None:
        """Refuses to go on where the weights have left those that sampled, whatever the clip makes of it."""
        drift = float(apart.abs().mean())
        if drift > self._most_drift:
            raise InputError(
                f"the ratios to the weights that sampled have exploded ({drift:.1f} nats a token in the mean of a "
                "pass): the new weights are thrown away; lower rounds.policy.learning_rate or epochs"
            )

    def _weights(self, one: PolicySequence) -> Floats:
        """What each token of a trajectory counts in its loss."""
        share = 1.0 if self._settings.loss_mean == "token" else 1 / max(one.trained_tokens, 1)
        return one.trained * np.float32(one.weight * share)


def _advantages(one: PolicySequence) -> Floats:
    assert one.advantages is not None, "sequences of a policy gradient have advantages"
    return one.advantages


def _logprobs(one: PolicySequence) -> Floats:
    assert one.logprobs is not None, "sequences of a policy gradient have stored log-probabilities"
    return one.logprobs
