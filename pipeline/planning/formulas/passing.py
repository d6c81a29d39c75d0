"""Computes how many problems are solved, and how many go on, from the chance that an answer passes.

Problems have pass rates of their own, spread by a beta distribution of mean p and intraclass correlation rho: of n
answers X pass, X ~ BetaBinomial(n, p·m, (1 - p)·m) with m = (1 - rho) / rho. With rho = 0 all have one rate; with 1 all
answers of a problem pass, or none does.
"""

from __future__ import annotations

from math import exp, lgamma

from berry.pipeline.config.plan import Workload
from berry.pipeline.planning.tree_shape import shape_of


def share_passing_at_most(most: int, answers: int, pass_rate: float, alike: float) -> float:
    """The share of problems of whose `answers` no more than `most` pass."""
    return min(1.0, sum(_chance(k, answers, pass_rate, alike) for k in range(min(most, answers) + 1)))


def _chance(k: int, n: int, p: float, rho: float) -> float:
    """The chance that k of n answers pass."""
    if p in (0.0, 1.0) or rho >= 1:
        return {0: 1 - p, n: p}.get(k, 0.0) if n else 1.0
    choose = lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
    if rho <= 1e-6:
        return exp(choose) * p**k * (1 - p) ** (n - k)
    m = (1 - rho) / rho
    a, b = p * m, (1 - p) * m
    return exp(choose + _log_beta(k + a, n - k + b) - _log_beta(a, b))


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def share_at_most(workload: Workload, share: float) -> float:
    """The share of a workload's problems of whose answers at most this share pass; answers are taken as independent."""
    answers = max(1, round(shape_of(workload).leaves))
    return share_passing_at_most(int(share * answers + 1e-9), answers, workload.pass_rate, workload.pass_rate_alike)
