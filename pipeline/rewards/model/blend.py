"""Joins a value model's answer with the log-probability that the engine recorded for the response.

    logit(value) = a · logit(model's value) + b · log p(response | prompt) + c · tokens / 100 + d

log p is the sum of the log-probabilities that the engine recorded while it sampled, which every node has; nothing is
computed anew. They are of the distribution that was sampled from (the mark `logprobs` of a run's files names it), so a
blend serves runs of the same sampling. a, b, c, d are a logistic regression (Platt 1999, with two more features) fitted
when a model is trained, on problems that neither trained it nor are held out, and travel in its card. The sum does not
depend on how a response is cut into segments, so that a blend learned on whole answers serves step by step.

The log-probabilities are those of the generator that the labels are of: under another one, or one that has learned much
since, train again (rounds do), or with `blend: false`.

Degenerate cases: where the engine gave no log-probabilities the model's value stands; published models have no blend;
with few labels the coefficients stay near (1, 0, 0, 0), which is the model's value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_MIN_PROBABILITY = 1e-6


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the engine recorded of a response's prefix: its log-probability in nats, and its length in tokens."""

    logprob: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Blend:
    """The coefficients of the formula above."""

    logit: float = 1.0
    logprob: float = 0.0
    tokens: float = 0.0
    constant: float = 0.0

    def __post_init__(self) -> None:
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in self.coefficients):
            raise ValueError(f"a blend needs four finite numbers, got {self.coefficients}")

    @property
    def coefficients(self) -> tuple[float, float, float, float]:
        """The weights of logit, log-probability (nats a token), length (tokens) and the constant."""
        return self.logit, self.logprob, self.tokens, self.constant

    def value(self, value: float, evidence: Evidence | None) -> float:
        """The model's `value` in [0, 1] in the light of `evidence`; as it is without any."""
        if evidence is None:
            return value
        logit = sum(a * x for a, x in zip(self.coefficients, features(value, evidence), strict=True))
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, logit))))


def features(value: float, evidence: Evidence) -> tuple[float, float, float, float]:
    """The four numbers that the coefficients multiply: logit of the value, nats, hundreds of tokens, one."""
    p = min(max(value, _MIN_PROBABILITY), 1 - _MIN_PROBABILITY)
    return math.log(p / (1 - p)), evidence.logprob, evidence.tokens / 100, 1.0
