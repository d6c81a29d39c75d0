"""Counts what a method's answers cost: generated tokens, forward tokens of all roles, FLOP, seconds, US dollars.

    n samples ─► prompt read once, n responses generated ─► each response read by the reward models that were asked

    FLOP of reading or generating m tokens behind p others = 2·A·m + 4·W·Σ_{k=1…m} looked back(p + k)

A is the parameters used for one token, W the sum over layers of heads × head size (planning/roofline.py). What several
answers share, the prompt first of all, is computed once, as prefix caches do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from berry.pipeline.stages.evaluation.axis import Axis
from berry.pipeline.stages.evaluation.chains import ProblemAnswers

GENERATOR = "generator"


@dataclass(frozen=True, slots=True)
class ForwardCost:
    """A model as far as its arithmetic goes: see the module. `window`: tokens that `windowed_share` of the layers look
    back at most; None: all of them look back over everything."""

    active_parameters: float
    attention_width: float
    window: int | None = None
    windowed_share: float = 0.0

    def flop(self, tokens: float, behind: float) -> float:
        """Floating-point operations of `tokens` tokens behind `behind` others."""
        looked_back = tokens * (behind + (tokens + 1) / 2)
        if self.window is not None:
            windowed = _windowed(tokens, behind, self.window)
            looked_back = (1 - self.windowed_share) * looked_back + self.windowed_share * windowed
        return 2 * self.active_parameters * tokens + 4 * self.attention_width * looked_back


def _windowed(tokens: float, behind: float, window: int) -> float:
    """Sum over the tokens at places behind + 1 … behind + tokens of how far each looks back: at most `window`."""
    free = min(max(0.0, window - behind), tokens)
    return free * (behind + (free + 1) / 2) + (tokens - free) * window


@dataclass(frozen=True, slots=True)
class Price:
    """What a named cluster makes of the work. `tokens_per_s`: generated tokens a second by its plan, by the reward
    models that read along; `usd_per_hour` None without a price."""

    cluster: str
    tokens_per_s: Mapping[frozenset[str], float]
    usd_per_hour: float | None

    def seconds(self, generated: float, readers: Collection[str]) -> float | None:
        """Seconds that a problem takes of the whole cluster; None where it was not planned with these readers."""
        rate = self.tokens_per_s.get(frozenset(readers))
        return None if rate is None else generated / rate


@dataclass(frozen=True, slots=True)
class Cost:
    """A problem's mean, by the names of Axis. `flop`, `seconds`, `usd` are None where a model's sheet, a plan or a
    price is missing."""

    generated_tokens: float
    forward_tokens: float
    flop: float | None
    seconds: float | None
    usd: float | None

    def on(self, axis: Axis) -> float | None:
        """The cost in one unit."""
        value: float | None = getattr(self, axis.value)
        return value


def cost_of(
    problem: ProblemAnswers,
    n: int | None,
    readers: Collection[str],
    models: Mapping[str, ForwardCost],
    price: Price | None = None,
) -> Cost:
    """The cost of `n` samples (None: the whole search), where the reward models `readers` read every token."""
    share = 1.0 if n is None else n / len(problem.answers)
    generated = problem.generated * share
    forward = problem.prompt_tokens + share * sum(tokens for tokens, _ in problem.segments)
    seconds = None if price is None else price.seconds(generated, readers)
    usd = (
        None if price is None or price.usd_per_hour is None or seconds is None else seconds / 3600 * price.usd_per_hour
    )
    return Cost(generated, forward * (1 + len(readers)), _flop(problem, share, readers, models), seconds, usd)


def _flop(
    problem: ProblemAnswers, share: float, readers: Collection[str], models: Mapping[str, ForwardCost]
) -> float | None:
    roles = (GENERATOR, *sorted(readers))
    if any(role not in models for role in roles):
        return None
    return sum(
        models[role].flop(problem.prompt_tokens, 0)
        + share * sum(models[role].flop(tokens, behind) for tokens, behind in problem.segments)
        for role in roles
    )
