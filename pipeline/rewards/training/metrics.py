"""Computes figures of merit from scores and labels: pure arithmetic.

scores, labels ─► auc, calibration, f1 ; steps of trajectories ─► first_errors ; leaves of problems ─► best_of_n
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Chance that a good one scores above a bad one, ties counting half (Mann-Whitney). None without both kinds."""
    ordered = sorted(zip(scores, labels, strict=True))
    good = sum(labels)
    bad = len(labels) - good
    if not good or not bad:
        return None
    rank_sum = 0.0
    start = 0
    while start < len(ordered):
        end = start
        while end < len(ordered) and ordered[end][0] == ordered[start][0]:
            end += 1
        rank_sum += (start + end + 1) / 2 * sum(label for _, label in ordered[start:end])
        start = end
    return (rank_sum - good * (good + 1) / 2) / (good * bad)


@dataclass(frozen=True, slots=True)
class Bin:
    """Scores in one interval: their mean, the mean of the labels, and how many; means by the labels' weights."""

    score: float
    label: float
    count: int


def calibration(
    scores: Sequence[float], labels: Sequence[float], weights: Sequence[float] | None = None, *, bins: int = 10
) -> tuple[float, list[Bin]]:
    """Expected calibration error (mean distance between score and label over equal-width bins, by weight; Naeini et al.
    2015) and the bins that hold anything. Labels may be soft; `weights`: one each where None."""
    held: dict[int, list[tuple[float, float, float]]] = defaultdict(list)
    for score, label, weight in zip(scores, labels, weights or [1.0] * len(scores), strict=True):
        held[min(int(score * bins), bins - 1)].append((score, label, weight))
    curve: list[Bin] = []
    error = total = 0.0
    for _, triples in sorted(held.items()):
        weight = sum(w for _, _, w in triples)
        if weight:
            score, label = sum(s * w for s, _, w in triples) / weight, sum(x * w for _, x, w in triples) / weight
            curve.append(Bin(score, label, len(triples)))
            error += weight * abs(score - label)
            total += weight
    return (error / total if total else 0.0), curve


def brier(scores: Sequence[float], labels: Sequence[float], weights: Sequence[float] | None = None) -> float | None:
    """Mean squared distance, by weight."""
    weighed = list(zip(scores, labels, weights or [1.0] * len(scores), strict=True))
    total = sum(w for _, _, w in weighed)
    return sum(w * (s - x) ** 2 for s, x, w in weighed) / total if total else None


def f1_of_bad(scores: Sequence[float], good: Sequence[bool], threshold: float) -> float | None:
    """F1 of finding bad ones as those that score below `threshold`. None if there is no bad one."""
    if all(good):
        return None
    hits = sum(s < threshold and not g for s, g in zip(scores, good, strict=True))
    flagged = sum(s < threshold for s in scores)
    return 2 * hits / (flagged + sum(not g for g in good))


@dataclass(frozen=True, slots=True)
class ScoredSteps:
    """One trajectory's step scores and, of each step, whether it is still good (None: not known)."""

    scores: Sequence[float]
    good: Sequence[bool | None]

    @property
    def first_error(self) -> int | None:
        """The index of the first step that is known to be wrong; None if there is none."""
        return next((i for i, g in enumerate(self.good) if g is False), None)

    def predicted(self, threshold: float) -> int | None:
        """The index of the first step scored below `threshold`; None if there is none."""
        return next((i for i, s in enumerate(self.scores) if s < threshold), None)


@dataclass(frozen=True, slots=True)
class FirstErrors:
    """`wrong_accuracy`: of trajectories with an error, how often its step is found exactly; `right_accuracy`: of those
    without, how often none is claimed; `f1` their harmonic mean (as ProcessBench has it, Zheng et al. 2024)."""

    wrong_accuracy: float | None
    right_accuracy: float | None
    f1: float | None
    wrong: int
    right: int


def first_errors(trajectories: Iterable[ScoredSteps], threshold: float) -> FirstErrors:
    """How well scores below `threshold` find the first wrong step: the share found of trajectories that have one, the
    share left alone of those that have none, and their harmonic mean; null where no trajectory is of a kind. Source:
    Zheng et al. 2024 (ProcessBench)."""
    located = wrong = unclaimed = right = 0
    for steps in trajectories:
        error, claimed = steps.first_error, steps.predicted(threshold)
        if error is None:
            right += 1
            unclaimed += claimed is None
        else:
            wrong += 1
            located += claimed == error
    w = located / wrong if wrong else None
    r = unclaimed / right if right else None
    f1 = None if w is None or r is None else (2 * w * r / (w + r) if w + r else 0.0)
    return FirstErrors(w, r, f1, wrong, right)


def best_threshold(trajectories: Sequence[ScoredSteps]) -> float:
    """The threshold in 0.02 … 0.98 with the highest first-error F1; 0.5 where that is not defined."""
    grid = [i / 50 for i in range(1, 50)]
    scored = [(first_errors(trajectories, t).f1, t) for t in grid]
    known = [(f1, t) for f1, t in scored if f1 is not None]
    if not known:
        return 0.5
    best = max(f1 for f1, _ in known)
    ties = [t for f1, t in known if f1 >= best - 1e-12]
    return ties[len(ties) // 2]


@dataclass(frozen=True, slots=True)
class ScoredLeaf:
    """A checked trajectory: what the verifier said, its answer, the scores to pick by, and the weight of its vote among
    those of its tree (core/values/votes.py)."""

    passed: bool
    answer: str | None
    scores: dict[str, float]
    weight: float = 1.0


def best_of_n(problems: Sequence[Sequence[ScoredLeaf]], seed: int = 0) -> dict[str, float]:
    """Share of problems solved by picking one of their checked trajectories: the one that scores highest by each score,
    the majority's answer and one at random (expected), both by the weights of votes, and with the verifier itself. Ties
    are broken by a seeded draw. Problems of which no leaf has a vote count in neither of those two."""
    chance = random.Random(seed)
    counted: dict[str, list[float]] = defaultdict(list)
    for leaves in problems:
        if not leaves:
            continue
        counted["verifier"].append(float(any(leaf.passed for leaf in leaves)))
        whole = math.fsum(leaf.weight for leaf in leaves)
        if whole:
            counted["random"].append(math.fsum(leaf.weight for leaf in leaves if leaf.passed) / whole)
            counted["majority"].append(_majority(leaves))
        shuffled = chance.sample(list(leaves), len(leaves))
        for name in leaves[0].scores:
            counted[name].append(float(max(shuffled, key=lambda leaf: leaf.scores[name]).passed))
    return {name: sum(values) / len(values) for name, values in counted.items()}


def _majority(leaves: Sequence[ScoredLeaf]) -> float:
    """Expected accuracy of the answer with most votes, ties at random."""
    votes: dict[str, list[float]] = defaultdict(list)
    for leaf in leaves:
        if leaf.answer is not None and leaf.weight:
            votes[leaf.answer].append(leaf.weight)
    if not votes:
        return 0.0
    totals = {answer: math.fsum(weights) for answer, weights in votes.items()}
    most = max(totals.values())
    winners = [answer for answer, total in totals.items() if total > most - 1e-9]
    right = [any(leaf.passed for leaf in leaves if leaf.answer == answer) for answer in winners]
    return sum(right) / len(right)


def correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Pearson's; None where one does not vary."""
    n = len(a)
    if n < 2:
        return None
    mean_a, mean_b = sum(a) / n, sum(b) / n
    cov = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    var_a, var_b = sum((x - mean_a) ** 2 for x in a), sum((y - mean_b) ** 2 for y in b)
    return cov / math.sqrt(var_a * var_b) if var_a > 0 and var_b > 0 else None
