"""Scores of labelled paths joined with what the engine recorded: what is served, with and without, and that alone.

scores and labels of validation paths ─► learn ─► Blend ─► joined scores of any paths
evidence alone ─► fluency: what the scorer `logprob` of core.scorers says
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pipeline.core.scorers import mean_probability
from pipeline.rewards.blend import Blend, Evidence
from pipeline.rewards.examples import LabelledPath, weight_of
from pipeline.rewards.fitting import fit

Scores = list[list[float]]  # a path, a step


def learn(
    what: Literal["prm", "orm"],
    scores: Scores,
    paths: Sequence[LabelledPath],
    *,
    targets: Literal["soft", "hard"],
    weigh_by_visits: bool,
) -> Blend | None:
    """The blend that these labels ask for; None where no label has evidence. A PRM's labels are the steps', each shared
    prefix once, weighed as in training; an ORM's the verdicts."""
    rows: list[tuple[float, Evidence, float, float]] = []
    for path, values in zip(paths, scores, strict=True):
        known = path.evidence
        if not known:
            continue
        if what == "orm":
            if path.passed is not None and known[-1] is not None:
                rows.append((values[-1], known[-1], float(path.passed), 1.0))
            continue
        for value, evidence, soft, hard, visits, first in zip(
            values, known, path.soft, path.hard, path.visits, path.first, strict=True
        ):
            if first and evidence is not None and soft is not None and hard is not None:
                target = float(hard if targets == "hard" else soft)
                rows.append((value, evidence, target, weight_of(visits) if weigh_by_visits else 1.0))
    return fit(rows) if rows else None


def joined(scores: Scores, paths: Sequence[LabelledPath], blend: Blend) -> Scores:
    """As a run will have them: a step without evidence keeps the model's value."""
    return [
        [blend.value(value, evidence) for value, evidence in zip(row, path.evidence or [None] * len(row), strict=True)]
        for row, path in zip(scores, paths, strict=True)
    ]


def fluency(paths: Sequence[LabelledPath]) -> Scores | None:
    """None unless every step has evidence."""
    scores: Scores = []
    for path in paths:
        row = [mean_probability(e.logprob, e.tokens) for e in path.evidence if e is not None and e.tokens]
        if len(row) < len(path.ends):
            return None
        scores.append(row)
    return scores
