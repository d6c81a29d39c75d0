"""Counts what a method's answers cost: generated tokens, forward tokens of all roles, FLOP, seconds, US dollars.

    n samples ─► prompt read once, n responses generated ─► each response read by the value model that the method asks

    FLOP of reading or generating m tokens behind p others = 2·A·m + 4·W·(m·p + m·(m + 1)/2)

A is the parameters used for one token, W the sum over layers of heads × head size (planning/roofline.py). The prompt
is computed once for all samples of a problem, since they share it in the prefix cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from berry.pipeline.stages.evaluation.chains import ProblemAnswers

GENERATOR = "generator"


@dataclass(frozen=True, slots=True)
class ForwardCost:
    """A model as far as its arithmetic goes: see the module."""

    active_parameters: float
    attention_width: float

    def flop(self, tokens: float, behind: float) -> float:
        """Floating-point operations of `tokens` tokens behind `behind` others."""
        return 2 * self.active_parameters * tokens + 4 * self.attention_width * tokens * (behind + (tokens + 1) / 2)


@dataclass(frozen=True, slots=True)
class Price:
    """What a named cluster makes of generated tokens: `tokens_per_s` by its plan; `usd_per_hour` None without a
    price."""

    cluster: str
    tokens_per_s: float
    usd_per_hour: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """A problem's mean. `flop`, `seconds`, `usd` are None where a model's sheet, a plan or a price is missing."""

    generated: float
    forward: float
    flop: float | None
    seconds: float | None
    usd: float | None


def cost_of(
    problem: ProblemAnswers,
    n: int | None,
    reads: str | None,
    models: Mapping[str, ForwardCost],
    price: Price | None = None,
) -> Cost:
    """The cost of `n` samples (None: the whole search), answers chosen with the value model `reads`."""
    count = len(problem.answers)
    share = 1.0 if n is None else n / count
    generated = problem.generated * share
    forward = problem.prompt_tokens + generated
    if reads is not None:
        forward += problem.prompt_tokens + generated  # shared prefixes are read once, as they were generated
    return Cost(
        generated,
        forward,
        _flop(problem, generated, reads, models),
        None if price is None else generated / price.tokens_per_s,
        None if price is None or price.usd_per_hour is None else generated / price.tokens_per_s / 3600
        * price.usd_per_hour,
    )  # fmt: skip


def _flop(
    problem: ProblemAnswers, generated: float, reads: str | None, models: Mapping[str, ForwardCost]
) -> float | None:
    """Exact in the mean for independent chains; where prefixes are shared, each token costs what one of a whole
    response does on average."""
    roles = [GENERATOR] + ([reads] if reads is not None else [])
    if any(role not in models for role in roles):
        return None
    whole = sum(a.tokens for a in problem.answers)
    total = 0.0
    for role in roles:
        model = models[role]
        responses = sum(model.flop(a.tokens, problem.prompt_tokens) for a in problem.answers)
        total += model.flop(problem.prompt_tokens, 0) + (responses * generated / whole if whole else 0.0)
    return total
