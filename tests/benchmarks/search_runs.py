"""What the parts of search.py run: configurations, engines and problems through the pipeline, and what it took."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.base import Counters, Engine
from berry.pipeline.records import Problem
from berry.pipeline.rewards.serving.service import RewardModels
from berry.pipeline.runtime.monitoring.progress import Monitor
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.verifiers.checker import Checker

LEAVES = 16
LEASE = 8  # problems
WIDTHS = ("beams", "subtrees", "width")
POLICIES: dict[str, dict[str, Any]] = {
    "best_of_n": {"type": "best_of_n", "n": LEAVES},
    "fixed": {"type": "fixed", "branching": [4, 2, 2]},
    "entropy": {"type": "entropy", "chains": 4, "forks": 3, "rounds": 1, "branches": 1},
    "value": {"type": "value", "leaves": LEAVES, "scorer": "logprob"},
    "beam": {"type": "beam", "beams": 4, "width": 4, "scorer": "logprob"},
    "dvts": {"type": "dvts", "subtrees": 4, "width": 4, "scorer": "logprob"},
    "mcts": {"type": "mcts", "simulations": LEAVES, "parallel": 4},
    "shepherd": {"type": "shepherd", "chains": 1, "completions": 4},
    "omega": {"type": "omega", "chains": 2, "completions": 4, "searches": 2},
}


@dataclass(frozen=True)
class Tools:
    """What answers commands."""

    engine: Engine
    checker: Checker
    scratch: Path
    models: RewardModels | None = None


@dataclass(frozen=True)
class Figures:
    wall_s: float
    leaves: int
    generated: int
    recomputed: int
    prompt: int
    occupancy: float | None
    running_s: float  # sequences times seconds
    preemptions: int
    preempted: int  # tokens computed again for them

    @property
    def cache_hit(self) -> float:
        """Share of prompt tokens that the prefix cache held."""
        return 1 - self.recomputed / max(self.prompt, 1)


def config(args: argparse.Namespace, policy: str, *, seed: int, **engine: Any) -> RunConfig:
    kinds = {"tiny-arithmetic": "arithmetic", "synthetic": "synthetic"}
    problems: list[dict[str, Any]] = [{"type": kinds.get(args.model, "none"), "count": args.problems, "seed": 7}]
    if args.model not in kinds:
        problems = [
            {"type": "reasoning_gym", "dataset": "gsm_symbolic", "count": args.problems // 2, "seed": 5},
            {"type": "reasoning_gym", "dataset": "chain_sum", "count": (args.problems + 1) // 2, "seed": 5},
        ]
    made: dict[str, Any] = {
        "tiny-arithmetic": {"type": "vllm", "model": "tiny-arithmetic", "dtype": "float32", "max_model_len": 256},
        "synthetic": {"type": "synthetic", "tokens_per_s": 200, "prefill_tokens_per_s": 20000},
    }.get(args.model, {"type": "vllm", "model": args.model, "dtype": "bfloat16", "max_model_len": 1024})
    if args.memory_share is not None:
        made |= {"gpu_memory_utilization": args.memory_share}
    mine = dict.fromkeys(WIDTHS, args.width) | ({} if args.prm is None else {"scorer": "prm"})
    return RunConfig.model_validate(
        {
            "name": "bench",
            "seed": seed,
            "problems": problems,
            "engine": made | {"max_num_seqs": args.seqs} | engine,
            "rollout": {
                "policy": {k: mine.get(k, v) for k, v in POLICIES[policy].items()},
                "step": {"type": "tokens", "tokens": args.step_tokens}
                if args.step_tokens
                else {"type": "delimiter", "delimiters": ["\n"]},
                "sampling": {"max_tokens": args.max_tokens},
            },
            "storage": {"lease_problems": LEASE},
            "rewards": None if args.prm is None else {"prm": {"model": args.prm}},
        }
    )


async def through_pipeline(run: RunConfig, tools: Tools, problems: Sequence[Problem]) -> Figures:
    """All problems as leases on one worker, as in a run; shards are written too."""
    engine, checker, place = tools.engine, tools.checker, locate(tools.scratch / f"{time.time_ns()}")
    worker = LeaseWorker(run, place, engine, checker.check, "w", agree=checker.agree, scorer=tools.models)
    leases = [Lease(i // LEASE, tuple(problems[i : i + LEASE])) for i in range(0, len(problems), LEASE)]
    monitor = Monitor(time.monotonic(), len(problems))
    before, started = tools.engine.counters(), time.monotonic()

    async def watch() -> None:
        while True:
            monitor.add(time.monotonic(), [worker.snapshot()], all_handed_out=True)
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    reports = await asyncio.gather(*(worker.run(lease) for lease in leases))
    wall_s = time.monotonic() - started
    watching.cancel()
    leaves = sum(r.trajectories for r in reports)
    return since(before, tools.engine.counters(), wall_s, leaves, monitor.occupancy())


def since(before: Counters, after: Counters, wall_s: float, leaves: int, occupancy: float | None = None) -> Figures:
    return Figures(
        wall_s,
        leaves,
        after.generated_tokens - before.generated_tokens,
        (after.prompt_tokens - after.cached_tokens) - (before.prompt_tokens - before.cached_tokens),
        after.prompt_tokens - before.prompt_tokens,
        occupancy,
        after.running_integral - before.running_integral,
        after.preemptions - before.preemptions,
        after.preempted_tokens - before.preempted_tokens,
    )
