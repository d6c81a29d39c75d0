"""A blend from labels: weighted logistic regression, pulled towards the model's own value.

    (model's value, evidence, target, weight) of each label ─► Newton's method ─► Blend

The loss is the cross-entropy with soft targets plus half the squared distance from the identity, which many labels
outweigh and few do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.rewards.blend import Blend, Evidence, features

_IDENTITY = np.array(Blend().coefficients)
_PRIOR = 1.0


def fit(rows: Sequence[tuple[float, Evidence, float, float]]) -> Blend:
    """From (model's value, evidence, target in [0, 1], weight), with steps halved until they help."""
    if not rows:
        return Blend()
    x = np.array([features(value, evidence) for value, evidence, _, _ in rows])
    target, weight = np.array([row[2] for row in rows]), np.array([row[3] for row in rows])
    prior = _PRIOR * np.eye(len(_IDENTITY))
    at = _IDENTITY.copy()
    loss = _loss(at, x, target, weight, prior)
    for _ in range(50):
        p = _sigmoid(x @ at)
        gradient = x.T @ (weight * (p - target)) + prior @ (at - _IDENTITY)
        step = np.linalg.solve((x * (weight * p * (1 - p))[:, None]).T @ x + prior, gradient)
        size = 1.0
        while size > 1e-4 and _loss(at - size * step, x, target, weight, prior) > loss:
            size /= 2
        at = at - size * step
        before, loss = loss, _loss(at, x, target, weight, prior)
        if before - loss < 1e-9 * max(1.0, before):
            break
    return Blend(*(float(a) for a in at))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))


def _loss(at: np.ndarray, x: np.ndarray, target: np.ndarray, weight: np.ndarray, prior: np.ndarray) -> float:
    logits = x @ at
    off = at - _IDENTITY
    return float((weight * (np.logaddexp(0, logits) - target * logits)).sum() + off @ prior @ off / 2)
