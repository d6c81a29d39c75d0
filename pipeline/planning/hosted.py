"""Foretells what a run on a hosted API costs and how long its limits make it last.

RunConfig with engine.dialect chat ─► hosted_plan ─► HostedPlan (requests, tokens, USD, hours) ─► berry plan
"""

from __future__ import annotations

from dataclasses import dataclass

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import HttpEngine
from berry.pipeline.core.placement import place_actors
from berry.pipeline.planning.runs import workload_of

MTOK = 1e6


@dataclass(frozen=True, slots=True)
class HostedPlan:
    """Tokens are sums over the run. `cost_usd` is None where the configuration gives no prices; `hours` is the least
    that its limits a minute allow, None where it has none: how fast the API answers is not known. `binds` names the
    limit. `at_most_usd`: as cost_usd, were every answer as long as it may be."""

    requests: int
    prompt_tokens: float
    completion_tokens: float
    cost_usd: float | None
    at_most_usd: float | None
    hours: float | None
    binds: str
    assumed: tuple[str, ...]


def hosted_plan(config: RunConfig) -> HostedPlan:
    """What a run that has not been made takes, before early stops and failures. Raises ConfigError for problems that
    can't be read."""
    engine = config.engine
    assert isinstance(engine, HttpEngine)
    workload, _ = workload_of(config)
    requests = round(workload.problems * _samples(config))
    prompt, completion = requests * workload.prompt_tokens, requests * workload.output_tokens
    longest = requests * config.rollout.sampling.max_tokens
    cost = at_most = None
    if engine.price is not None:
        cost = (prompt * engine.price.prompt_usd + completion * engine.price.completion_usd) / MTOK
        at_most = (prompt * engine.price.prompt_usd + longest * engine.price.completion_usd) / MTOK
    actors = place_actors(config.cluster).rollout.actors
    minutes = {
        f"engine.{key}": amount / (limit * actors)
        for key, limit, amount in (
            ("requests_per_minute", engine.requests_per_minute, float(requests)),
            ("tokens_per_minute", engine.tokens_per_minute, prompt + longest),
        )
        if limit is not None
    }
    binds = max(minutes, key=minutes.__getitem__, default="nothing that is configured")
    assumed = (
        f"prompts of {workload.prompt_tokens:.0f} tokens (4 characters a token)",
        f"answers of {workload.output_tokens:.0f} tokens (half of rollout.sampling.max_tokens)",
        "no cached prompts, no early stops, no retries",
        "tokens_per_minute counts each request with its max_tokens",
    )
    hours = max(minutes.values()) / 60 if minutes else None
    return HostedPlan(requests, prompt, completion, cost, at_most, hours, binds, assumed)


def _samples(config: RunConfig) -> float:
    """Samples a problem, over all its modes."""
    modes = config.rollout.modes
    total = 0.0
    for mode in modes or (None,):
        rollout = config.rollout if mode is None else config.rollout.in_mode(mode.name)
        planned: int = rollout.policy.n  # type: ignore[attr-defined]  # of best_of_n
        share = 1.0 if mode is None or mode.all else mode.share or 1 / len(modes)
        total += share * min(planned, rollout.budget.max_leaves or planned)
    return total
