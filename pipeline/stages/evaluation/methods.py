"""Estimates how often each method of choosing an answer is right with n samples, from a larger pool of them.

    pool of N independent chains, n of them drawn without replacement ─► chance that the chosen answer is right

    pass@k (coverage)       1 - C(N - c, n) / C(N, n), c of the N right (Chen et al. 2021)
    G-Pass@k                chance that at least ⌈τ·n⌉ of n are right: hypergeometric (Liu et al. 2024)
    best-of-N by a score    sum over ranks of the chance that a rank is the best of n drawn: exact, ties shared
    self-consistency        the answer with most votes (Wang et al. 2022), weighted: with the largest sum of scores
                            (Li et al. 2023); a mean over SUBSETS seeded draws of n, exact for n = 1 and n = N

Each is unbiased for "n fresh samples", since n of N independent chains are n independent chains. An answer that could
not be checked is neither right nor wrong: methods see pools without it, and `unchecked_band` says where the
figure would lie if all of them were wrong, or right.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, comb

import numpy as np

from berry.pipeline.stages.evaluation.chains import LOGPROB, REWARDS, SCORES, ProblemAnswers, ScoredAnswer

SUBSETS = 256
G_PASS_SHARES = (0.5, 0.75, 1.0)

Estimate = Callable[[Sequence[ScoredAnswer], int, str], float]
"""Answers that were all checked, how many are drawn, a key for seeded draws ─► chance that the chosen one is right."""


@dataclass(frozen=True, slots=True)
class Method:
    """`score`: the column it chooses or weighs by, None without one. `reads`: which value model that needs."""

    name: str
    estimate: Estimate
    score: str | None = None

    @property
    def reads(self) -> str | None:
        """The reward model whose scores it needs, prm or orm; None where it needs none."""
        return None if self.score in (None, LOGPROB) else self.score.partition("_")[0]

    def applies(self, problem: ProblemAnswers) -> bool:
        """Whether the answers have what the method needs."""
        return self.score is None or all(self.score in answer.scores for answer in problem.answers)

    def value(self, problem: ProblemAnswers, n: int) -> float | None:
        """Chance that the method is right with `n` samples; None where fewer than n answers were checked."""
        known = [answer for answer in problem.answers if answer.passed is not None]
        if len(known) < n:
            return None
        return self.estimate(known, n, problem.problem_id)


NO_CHOICE = "nothing"


def chosen_by(method: Method) -> str | None:
    """What a method chooses one answer by: its score, votes, or nothing; None where it chooses none."""
    if method.name.startswith(("pass@k", "any", "G-Pass")):
        return None
    if method.name.startswith("majority"):
        return "votes" if method.score is None else f"votes, {method.score}"
    return method.score or NO_CHOICE


def unchecked_band(
    value: Callable[[ProblemAnswers], float | None], problem: ProblemAnswers
) -> tuple[float, float] | None:
    """What `value` says of a problem if every answer that could not be checked were wrong, and if it were right: the
    smaller figure first. None where it says nothing even then."""
    if all(answer.passed is not None for answer in problem.answers):
        told = value(problem)
        return None if told is None else (told, told)
    figures: list[float] = []
    for passed in (False, True):
        judged = [replace(a, passed=passed) if a.passed is None else a for a in problem.answers]
        told = value(replace(problem, answers=tuple(judged)))
        if told is None:
            return None
        figures.append(told)
    return min(figures), max(figures)


def pass_at_k(answers: Sequence[ScoredAnswer], n: int, key: str) -> float:  # noqa: ARG001 - nothing is drawn
    """Whether any of n is right: what a perfect choice would reach."""
    total, right = len(answers), sum(bool(a.passed) for a in answers)
    return 1.0 - comb(total - right, n) / comb(total, n)


def pass_at_1(answers: Sequence[ScoredAnswer], n: int, key: str) -> float:  # noqa: ARG001 - nothing is drawn
    """Whether one is right: no choice at all, whatever n."""
    return sum(bool(a.passed) for a in answers) / len(answers)


def g_pass(share: float) -> Estimate:
    """Whether at least that share of n are right: how stable the model is."""

    def estimate(answers: Sequence[ScoredAnswer], n: int, key: str) -> float:  # noqa: ARG001 - nothing is drawn
        total, right = len(answers), sum(bool(a.passed) for a in answers)
        least = max(1, ceil(share * n - 1e-9))
        ways = sum(comb(right, j) * comb(total - right, n - j) for j in range(least, min(n, right) + 1))
        return ways / comb(total, n)

    return estimate


def best_of_n(score: str) -> Estimate:
    """Whether the answer with the highest score is right; of equal scores each is as likely."""

    def estimate(answers: Sequence[ScoredAnswer], n: int, key: str) -> float:  # noqa: ARG001 - nothing is drawn
        ranked = sorted(answers, key=lambda a: -a.scores[score])
        left, value = len(ranked), 0.0
        start = 0
        while start < len(ranked) and left >= n:
            end = start
            while end < len(ranked) and ranked[end].scores[score] == ranked[start].scores[score]:
                end += 1
            alike = ranked[start:end]
            chance = (comb(left, n) - comb(left - len(alike), n)) / comb(len(ranked), n)
            value += chance * sum(bool(a.passed) for a in alike) / len(alike)
            left -= len(alike)
            start = end
        return value

    return estimate


def votes(score: str | None = None) -> Estimate:
    """Whether the answer with most votes is right. Without `score` each answer counts one, else its score."""

    def estimate(answers: Sequence[ScoredAnswer], n: int, key: str) -> float:
        names = sorted({a.answer for a in answers if a.answer is not None})
        if not names:
            return 0.0
        place = {name: i for i, name in enumerate(names)}
        ballots = np.zeros((len(answers), len(names)))
        for i, a in enumerate(answers):
            if a.answer is not None:
                ballots[i, place[a.answer]] = 1.0 if score is None else max(0.0, a.scores[score])
        right = np.array([_share([a for a in answers if a.answer == name]) for name in names])
        if n == len(answers):
            return _elected(ballots.sum(axis=0)[None], right)
        if n == 1:
            return _elected(ballots, right)
        chance = np.random.default_rng(zlib.crc32(f"{key}:{n}".encode()))
        drawn = np.argsort(chance.random((SUBSETS, len(answers))), axis=1)[:, :n]
        return _elected(ballots[drawn].sum(axis=1), right)

    return estimate


def weighted_votes(problem: ProblemAnswers) -> float | None:
    """Whether the answer with the largest sum of leaf weights is right, over all leaves of a search."""
    known = [
        (a, w) for a, w in zip(problem.answers, problem.weights or (), strict=True) if a.passed is not None and a.answer
    ]
    if not known:
        return None if not problem.answers or any(a.passed is None for a in problem.answers) else 0.0
    names = sorted({str(a.answer) for a, _ in known})
    sums = np.array([[sum(w for a, w in known if a.answer == name) for name in names]])
    return _elected(sums, np.array([_share([a for a, _ in known if a.answer == name]) for name in names]))


def _share(alike: Sequence[ScoredAnswer]) -> float:
    """Share of the answers of one class that passed: all or none, unless the verifier tells them apart."""
    return sum(bool(a.passed) for a in alike) / len(alike)


def _elected(sums: np.ndarray, right: np.ndarray) -> float:
    """Mean over rows of votes of the chance that the winning class is right, ties shared; no vote at all is wrong."""
    most = sums.max(axis=1, keepdims=True)
    winners = (sums >= most * (1 - 1e-12)) & (most > 0)
    counts = winners.sum(axis=1)
    values = np.divide((winners * right).sum(axis=1), counts, out=np.zeros(len(sums)), where=counts > 0)
    return float(values.mean())


PASS_AT_1 = Method("pass@1", pass_at_1)
"""The same at every budget."""
ORDER = (
    PASS_AT_1,
    Method("pass@k", pass_at_k),
    Method("majority", votes()),
    *(Method(f"majority, {score}", votes(score), score) for score in REWARDS),
    *(Method(f"best-of-N, {score}", best_of_n(score), score) for score in SCORES),
    *(Method(f"G-Pass@k {share:g}", g_pass(share)) for share in G_PASS_SHARES),
)
