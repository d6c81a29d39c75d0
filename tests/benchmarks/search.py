"""What trees, interleaving and shared prefixes are worth, on one engine in this process.

    python -P tests/benchmarks/search.py --model tiny-arithmetic --problems 200
    python -P tests/benchmarks/search.py --model smollm2-135m --problems 12 --parts trees
    python -P tests/benchmarks/search.py --model synthetic --problems 200            (paced like an accelerator)

Parts, each in turn over the same problems and with the same number of leaves, repeated, medians of ratios printed:
  trees      (a) wall time and recomputed prompt tokens of `fixed` and `entropy` over independent samples
  occupancy  (b) mean running sequences over the maximum in steady state, for every policy
  lockstep   (c) beam and DVTS here over the same searches with a barrier a depth, on many short and a few long problems
  squeeze    trees with the cache cut to a tenth: share of prompt tokens read from it
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.rewards import Rewards
from pipeline.config.run import RunConfig
from pipeline.core.events import Command, Finished, Generate, Score, Scored, Segment, Verified, Verify
from pipeline.core.scorers import SCORERS
from pipeline.core.search import sizes
from pipeline.core.search.base import Search
from pipeline.core.search.registry import make_search
from pipeline.engines.base import Counters, Engine, Request
from pipeline.engines.build import build
from pipeline.engines.vocabulary import of_engine
from pipeline.records import Problem
from pipeline.rewards.scoring import RewardModels
from pipeline.runtime.monitor import Monitor
from pipeline.stages import arithmetic
from pipeline.stages.leases import Lease, LeaseWorker
from pipeline.stages.problems import iter_problems
from pipeline.stages.synthetic_problems import synthetic_problems
from pipeline.storage.files import locate
from verifiers.checker import Checker, CheckRequest

LEAVES = 16
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


def mean_share(figures: Figures, args: argparse.Namespace) -> float:
    return round(figures.running_s / figures.wall_s / args.seqs, 3)


def config(args: argparse.Namespace, policy: str, *, seed: int, **engine: Any) -> RunConfig:
    kinds = {"tiny-arithmetic": "arithmetic", "synthetic": "synthetic"}
    problems: list[dict[str, Any]] = [{"type": kinds.get(args.model, "none"), "count": args.problems, "seed": 7}]
    if args.model not in kinds:
        problems = [
            {"type": "reasoning_gym", "dataset": "gsm_symbolic", "count": args.problems // 2, "seed": 5},
            {"type": "reasoning_gym", "dataset": "chain_sum", "count": (args.problems + 1) // 2, "seed": 5},
        ]
    made: dict[str, Any] = {
        "tiny-arithmetic": {"type": "vllm", "model": "tiny-arithmetic", "dtype": "float32", "max_model_len": 160},
        "synthetic": {"type": "synthetic", "tokens_per_s": 200, "prefill_tokens_per_s": 20000},
    }.get(args.model, {"type": "vllm", "model": args.model, "dtype": "bfloat16", "max_model_len": 1024})
    mine = dict.fromkeys(WIDTHS, args.width) | ({} if args.prm is None else {"scorer": "prm"})
    return RunConfig.model_validate(
        {
            "name": "bench",
            "seed": seed,
            "problems": problems,
            "engine": made | {"max_num_seqs": args.seqs} | engine,
            "rollout": {
                "policy": {k: mine.get(k, v) for k, v in POLICIES[policy].items()},
                "step": {"type": "delimiter", "delimiters": ["\n"]},
                "sampling": {"max_tokens": args.max_tokens},
            },
            "storage": {"lease_problems": 1},
            "rewards": None if args.prm is None else {"prm": {"model": args.prm}},
        }
    )


async def through_pipeline(run: RunConfig, tools: Tools, problems: Sequence[Problem]) -> Figures:
    """All problems as leases on one worker, as in a run; shards are written too."""
    engine, checker, place = tools.engine, tools.checker, locate(SCRATCH / f"{time.time_ns()}")
    worker = LeaseWorker(run, place, engine, checker.check, "w", agree=checker.agree, scorer=tools.models)
    monitor = Monitor(time.monotonic(), len(problems))
    before, started = tools.engine.counters(), time.monotonic()

    async def watch() -> None:
        while True:
            monitor.add(time.monotonic(), [worker.snapshot()], all_handed_out=True)
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    reports = await asyncio.gather(*(worker.run(Lease(i, (p,))) for i, p in enumerate(problems)))
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
    )


def mixed(args: argparse.Namespace, problems: Sequence[Problem]) -> list[Problem]:
    """Lengths as they come in practice, many short and a few long: every fourth problem is a long one. A barrier makes
    the short ones of a batch wait for its longest."""
    short_ones = 3 * (long_ones := -(-len(problems) // 4))
    if args.model == "synthetic":
        short, long = synthetic_problems(short_ones, 1, steps=(2, 3)), synthetic_problems(long_ones, 2, steps=(24, 32))
    elif args.model == "tiny-arithmetic":
        short, long = arithmetic.draw(short_ones, 1, operands=(2, 2)), arithmetic.draw(long_ones, 2, operands=(6, 7))
    else:
        return list(problems)  # sums and word problems, a half of each
    return [p for i, one in enumerate(long) for p in (*short[3 * i : 3 * i + 3], one)]


async def in_lockstep(run: RunConfig, tools: Tools, problems: Sequence[Problem]) -> Figures:
    """The same searches, batch by batch, with a barrier after each round of generation and each round of checks."""
    batch = max(1, tools.engine.info.max_num_seqs // sizes.width(run.rollout))
    before, started = tools.engine.counters(), time.monotonic()
    leaves = 0
    for start in range(0, len(problems), batch):
        leaves += await _lockstep_batch(run, tools, problems[start : start + batch])
    return since(before, tools.engine.counters(), time.monotonic() - started, leaves)


async def _lockstep_batch(run: RunConfig, tools: Tools, problems: Sequence[Problem]) -> int:
    searches: list[tuple[Problem, Search]] = []
    pending: list[tuple[Problem, Search, Command]] = []
    for problem in problems:
        ids = tools.engine.encode(problem.messages)
        context = tools.engine.info.max_model_len
        search = make_search(problem.id, ids, run.rollout, run_seed=run.seed, round_index=0, context_len=context)
        searches.append((problem, search))
        pending += [(problem, search, c) for c in search.start()]
    while pending:
        generate = [p for p in pending if isinstance(p[2], Generate)]
        turn = generate or pending
        rest = [p for p in pending if p not in turn] if generate else []
        events = await asyncio.gather(*(_answer(tools, *p) for p in turn))
        pending = rest
        for (problem, search, _), answers in zip(turn, events, strict=True):
            for event in answers:
                pending += [(problem, search, c) for c in search.handle(event)]
    assert all(search.finished for _, search in searches)
    return sum(len(search.trajectories()) for _, search in searches)


async def _answer(tools: Tools, problem: Problem, search: Search, command: Command) -> list[Any]:
    match command:
        case Generate(node, n, until, sampling, seed, priority, first):
            prefix = search.tree.prefix_ids(node)
            request = Request(f"{problem.id}/{node}/{seed}/{first}", prefix, n, until, sampling, seed, priority)
            return [Segment(node, first + s.index, s.completion) async for s in tools.engine.generate(request)]
        case Verify(node):
            text = tools.engine.decode(search.tree.response_ids(node))
            return [Verified(node, await tools.checker.check(CheckRequest(problem.id, problem.verifier, text)))]
        case Score(node, model) if tools.models is not None:
            ids = {"prompt_ids": search.tree.prompt_ids, "response_ids": search.tree.response_ids(node)}
            return [Scored(node, await tools.models.score(model=model, **ids), model)]
        case Score(node, model):
            return [Scored(node, SCORERS[model](search.tree, node) or 0.0, model)]
        case _:
            assert isinstance(command, Finished)
            return []


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    first = config(args, "best_of_n", seed=1)
    engine = build(first.engine, engine_id="bench")
    await engine.start()
    results: dict[str, Any] = {"model": args.model, "problems": args.problems, "max_num_seqs": args.seqs}
    problems = list(iter_problems(first.problems))
    async with Checker(first.verification) as checker:
        models = RewardModels(first.rewards or Rewards(), first.rollout, of_engine(first.engine))
        await models.start()
        tools = Tools(engine, checker, models if first.rewards else None)
        await through_pipeline(config(args, "best_of_n", seed=99), tools, problems[:4])  # warm
        if "trees" in args.parts:
            results["trees"] = await _trees(args, tools, problems)
        if "occupancy" in args.parts:
            runs = {p: await through_pipeline(config(args, p, seed=50), tools, problems) for p in POLICIES}
            results["occupancy"] = {policy: figures.occupancy for policy, figures in runs.items()}
        if "lockstep" in args.parts:
            results["lockstep"] = await _lockstep(args, tools, mixed(args, problems))
    await engine.close()
    if "squeeze" in args.parts:
        results["squeeze"] = await _squeeze(args, problems)
    return results


async def _trees(args: argparse.Namespace, tools: Tools, problems: Sequence[Problem]) -> dict[str, Any]:
    ratios: dict[str, dict[str, list[float]]] = {p: {} for p in ("fixed", "entropy")}
    for repeat in range(args.repeats):
        flat = await through_pipeline(config(args, "best_of_n", seed=repeat), tools, problems)
        for policy, found in ratios.items():
            tree = await through_pipeline(config(args, policy, seed=repeat), tools, problems)
            for name, value in {
                "leaves": tree.leaves / flat.leaves,
                "wall a leaf": (tree.wall_s / tree.leaves) / (flat.wall_s / flat.leaves),
                "generated a leaf": (tree.generated / tree.leaves) / (flat.generated / flat.leaves),
                "recomputed a leaf": (tree.recomputed / tree.leaves) / (flat.recomputed / flat.leaves),
                "cache hit": 1 - tree.recomputed / tree.prompt,
            }.items():
                found.setdefault(name, []).append(value)
    return {p: {k: statistics.median(v) for k, v in found.items()} for p, found in ratios.items()}


async def _lockstep(args: argparse.Namespace, tools: Tools, problems: Sequence[Problem]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for policy in ("beam", "dvts"):
        pairs: list[tuple[Figures, Figures]] = []
        for repeat in range(args.repeats):
            run = config(args, policy, seed=10 + repeat)
            ours = await through_pipeline(run, tools, problems)
            pairs.append((ours, await in_lockstep(run, tools, problems)))
        out[policy] = {
            "faster by": statistics.median(theirs.wall_s / ours.wall_s for ours, theirs in pairs),
            "leaves here, in lockstep": [(ours.leaves, theirs.leaves) for ours, theirs in pairs],
            "seconds": [(round(ours.wall_s, 2), round(theirs.wall_s, 2)) for ours, theirs in pairs],
            "of the engine's sequences running, ends included": [tuple(mean_share(f, args) for f in p) for p in pairs],
        }
    return out


async def _squeeze(args: argparse.Namespace, problems: Sequence[Problem]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    sizes: dict[str, dict[str, Any]] = {"full": {}, "a tenth": {"kv_cache_gib": 0.1}}
    if args.model == "synthetic":
        sizes = {"full": {"cache_tokens": 100_000}, "a tenth": {"cache_tokens": 10_000}}
    for name, changes in sizes.items():
        run = config(args, "fixed", seed=3, **changes)
        engine = build(run.engine, engine_id="squeezed")
        await engine.start()
        async with Checker(run.verification) as checker:
            figures = await through_pipeline(run, Tools(engine, checker), problems)
        await engine.close()
        out[name] = {"cache hit": 1 - figures.recomputed / figures.prompt, "wall_s": figures.wall_s}
    return out


SCRATCH = Path()

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-arithmetic")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seqs", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--width", type=int, default=4, help="of beam and DVTS: beams, and samples a beam")
    parser.add_argument("--prm", help="a trained PRM to score with instead of log-probabilities")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=["trees", "occupancy", "lockstep", "squeeze"])
    with tempfile.TemporaryDirectory() as folder:
        SCRATCH = Path(folder)
        print(json.dumps(asyncio.run(measure(parser.parse_args())), indent=1))
