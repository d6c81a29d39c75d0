"""What trees, interleaving and shared prefixes are worth, on one engine in this process.

    python -P tests/benchmarks/search.py --model tiny-arithmetic --problems 200
    python -P tests/benchmarks/search.py --model smollm2-135m --problems 12 --parts trees
    python -P tests/benchmarks/search.py --model synthetic --problems 200            (paced like an accelerator)

Parts, each in turn over the same problems and with the same number of leaves, repeated, medians of ratios printed:
  trees      (a) wall time and recomputed prompt tokens of `fixed` and `entropy` over independent samples
  occupancy  (b) mean running sequences over the maximum in steady state, hits of the prefix cache and preemptions, for
             every policy (`--policies`: for some)
  lockstep   (c) beam and DVTS here over the same searches with a barrier a depth, on many short and a few long problems
  squeeze    trees with the cache cut to a tenth: share of prompt tokens read from it
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from berry.pipeline.config.sections.rewards import Rewards
from berry.pipeline.engines.build import build
from berry.pipeline.engines.models import resolve
from berry.pipeline.engines.text.vocabulary import of_engine
from berry.pipeline.records import Problem
from berry.pipeline.rewards.model.loading import begin
from berry.pipeline.rewards.serving.service import RewardModels
from berry.pipeline.stages.problems.sources import iter_problems
from berry.verifiers.checker import Checker
from tests.benchmarks.search_lockstep import lockstep, mixed
from tests.benchmarks.search_runs import POLICIES, Tools, config, through_pipeline


async def measure(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    first = config(args, "best_of_n", seed=1)
    engine = build(first.engine, engine_id="bench")
    await engine.start()
    results: dict[str, Any] = {"model": args.model, "problems": args.problems, "max_num_seqs": args.seqs}
    problems = list(iter_problems(first.problems))
    async with Checker(first.verification) as checker:
        models = RewardModels(first.rewards or Rewards(), first.rollout, of_engine(first.engine))
        await models.start()
        tools = Tools(engine, checker, scratch, models if first.rewards else None)
        await through_pipeline(config(args, "best_of_n", seed=99), tools, problems[:4])  # warm
        if "trees" in args.parts:
            results["trees"] = await _trees(args, tools, problems)
        if "occupancy" in args.parts:
            runs = {p: await through_pipeline(config(args, p, seed=50), tools, problems) for p in args.policies}
            results["occupancy"] = {policy: figures.occupancy for policy, figures in runs.items()}
            results["cache hit"] = {policy: figures.cache_hit for policy, figures in runs.items()}
            results["preemptions"] = {policy: figures.preemptions for policy, figures in runs.items()}
            results["tokens/s"] = {policy: figures.generated / figures.wall_s for policy, figures in runs.items()}
            results["scored"] = models.counts()["prm"].requests if first.rewards else 0
        if "lockstep" in args.parts:
            results["lockstep"] = await lockstep(args, tools, mixed(args, problems))
    await engine.close()
    if "squeeze" in args.parts:
        results["squeeze"] = await _squeeze(args, problems, scratch)
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
                "cache hit": tree.cache_hit,
            }.items():
                found.setdefault(name, []).append(value)
    return {p: {k: statistics.median(v) for k, v in found.items()} for p, found in ratios.items()}


async def _squeeze(args: argparse.Namespace, problems: Sequence[Problem], scratch: Path) -> dict[str, Any]:
    out: dict[str, Any] = {}
    sizes: dict[str, dict[str, Any]] = {"full": {}, "a tenth": {"kv_cache_gib": 0.1}}
    if args.model == "synthetic":
        sizes = {"full": {"cache_tokens": 100_000}, "a tenth": {"cache_tokens": 10_000}}
    for name, changes in sizes.items():
        run = config(args, "fixed", seed=3, **changes)
        engine = build(run.engine, engine_id="squeezed")
        await engine.start()
        async with Checker(run.verification) as checker:
            figures = await through_pipeline(run, Tools(engine, checker, scratch), problems)
        await engine.close()
        out[name] = {"cache hit": figures.cache_hit, "wall_s": figures.wall_s}
    return out


def begun_prm(args: argparse.Namespace, scratch: Path) -> str:
    """The generator's backbone under a value head that knows nothing: it costs what a trained one costs."""
    source = resolve(args.model, key="--model")
    model = begin(source, dtype="float32" if args.model == "tiny-arithmetic" else "bfloat16")
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for parameter in model.head.parameters():
            parameter.normal_(std=0.02)
    model.inner.save_pretrained(scratch / "prm")
    for file in Path(source).glob("*token*"):
        shutil.copy(file, scratch / "prm")
    return str(scratch / "prm")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-arithmetic")
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seqs", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--width", type=int, default=4, help="of beam and DVTS: beams, and samples a beam")
    parser.add_argument(
        "--prm",
        help="scores beams instead of log-probabilities: a trained PRM, or begun: the model itself under a fresh head",
    )
    parser.add_argument("--step-tokens", type=int, help="steps of so many tokens; otherwise a line is a step")
    parser.add_argument("--long-every", type=int, default=4, help="one problem in so many of lockstep's mix")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--policies", nargs="+", choices=list(POLICIES), default=list(POLICIES), help="of occupancy")
    parser.add_argument("--memory-share", type=float, help="of a GPU's memory, for the engine")
    parser.add_argument("--parts", nargs="+", default=["trees", "occupancy", "lockstep", "squeeze"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.prm == "begun":
            options.prm = begun_prm(options, Path(folder))
        print(json.dumps(asyncio.run(measure(options, Path(folder))), indent=1))
