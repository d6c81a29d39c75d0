"""Fits a blend to labels: weighted logistic regression, pulled towards the model's own value.

    (model's value, evidence, target, weight) of each label ─► Newton's method ─► Blend

The loss is the cross-entropy with soft targets plus half the squared distance from the identity, which many labels
outweigh and few do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from berry.pipeline.core.scorers import mean_probability
from berry.pipeline.rewards.model.blend import Blend, Evidence, features
from berry.pipeline.rewards.training.examples import LabelledPath, Scores, masses_of, weigher

_IDENTITY = np.array(Blend().coefficients)
_PRIOR = 1.0


def fit(rows: Sequence[tuple[float, Evidence, float, float]]) -> Blend:
    """The blend of least loss over rows of (model's value, evidence, target in [0, 1], weight). Newton's steps are
    halved until they help."""
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


def fit_to_labels(
    what: Literal["prm", "orm"],
    scores: Scores,
    paths: Sequence[LabelledPath],
    *,
    targets: Literal["soft", "hard"],
    weigh_by_visits: bool,
) -> Blend | None:
    """The blend fitted to the labels of `paths`; None where no label has evidence. A PRM's labels are the steps',
    each shared prefix once, weighed as in training; an ORM's the verdicts."""
    rows: list[tuple[float, Evidence, float, float]] = []
    weigh = weigher(paths, by_visits=weigh_by_visits)
    for path, values in zip(paths, scores, strict=True):
        known = path.evidence
        if not known:
            continue
        if what == "orm":
            if path.passed is not None and known[-1] is not None:
                rows.append((values[-1], known[-1], float(path.passed), 1.0))
            continue
        for value, evidence, soft, hard, visits, first, mass in zip(
            values, known, path.soft, path.hard, path.visits, path.first, masses_of(path), strict=True
        ):
            if first and evidence is not None and soft is not None and hard is not None:
                target = float(hard if targets == "hard" else soft)
                rows.append((value, evidence, target, weigh(visits, mass)))
    return fit(rows) if rows else None


def blended(scores: Scores, paths: Sequence[LabelledPath], blend: Blend) -> Scores:
    """The model's scores after the blend, as a run will have them; a step without evidence keeps the model's value."""
    return [
        [blend.value(value, evidence) for value, evidence in zip(row, path.evidence or [None] * len(row), strict=True)]
        for row, path in zip(scores, paths, strict=True)
    ]


def mean_logprob(paths: Sequence[LabelledPath]) -> Scores | None:
    """A score a step from the engine alone: the exponential of its mean log-probability a token up to there. None
    unless every step has evidence."""
    scores: Scores = []
    for path in paths:
        row = [mean_probability(e.logprob, e.tokens) for e in path.evidence if e is not None and e.tokens]
        if len(row) < len(path.ends):
            return None
        scores.append(row)
    return scores
