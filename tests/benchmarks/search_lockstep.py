"""Part (c) of search.py: beam and DVTS here over the same searches with a barrier a depth."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.problems import ReasoningGymProblems
from berry.pipeline.core.events import Command, Finished, Generate, Score, Scored, Segment, Verified, Verify
from berry.pipeline.core.scorers import SCORERS
from berry.pipeline.core.search import sizes
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.registry import make_search
from berry.pipeline.engines.base import Request
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems import arithmetic
from berry.pipeline.stages.problems.sources import iter_problems
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from berry.verifiers.checker import CheckRequest
from tests.benchmarks.search_runs import Figures, Tools, config, since, through_pipeline


def mixed(args: argparse.Namespace, problems: Sequence[Problem]) -> list[Problem]:
    """Lengths as they come in practice, many short and a few long: one problem in `--long-every` is a long one. A
    barrier makes the short ones of a batch wait for its longest."""
    many = args.long_every - 1
    short_ones = many * (long_ones := -(-len(problems) // args.long_every))
    if args.model == "synthetic":
        short, long = synthetic_problems(short_ones, 1, steps=(2, 3)), synthetic_problems(long_ones, 2, steps=(24, 32))
    elif args.model == "tiny-arithmetic":
        short, long = arithmetic.draw(short_ones, 1, operands=(2, 2)), arithmetic.draw(long_ones, 2, operands=(9, 10))
    else:
        short, long = gym("chain_sum", short_ones, 1), gym("gsm_symbolic", long_ones, 2)
    return [p for i, one in enumerate(long) for p in (*short[many * i : many * (i + 1)], one)]


def gym(dataset: str, count: int, seed: int) -> list[Problem]:
    source = ReasoningGymProblems(type="reasoning_gym", dataset=dataset, count=count, seed=seed)
    return list(iter_problems([source]))


def mean_share(figures: Figures, args: argparse.Namespace) -> float:
    return round(figures.running_s / figures.wall_s / args.seqs, 3)


async def _in_lockstep(run: RunConfig, tools: Tools, problems: Sequence[Problem]) -> Figures:
    """The same searches, batch by batch, with a barrier after each round of generation and each round of checks."""
    batch = max(1, tools.engine.info.max_num_seqs // sizes.width(run.rollout))
    before, started = tools.engine.counters(), time.monotonic()
    leaves = 0
    for start in range(0, len(problems), batch):
        leaves += await _batch(run, tools, problems[start : start + batch])
    return since(before, tools.engine.counters(), time.monotonic() - started, leaves)


async def _batch(run: RunConfig, tools: Tools, problems: Sequence[Problem]) -> int:
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


async def lockstep(args: argparse.Namespace, tools: Tools, problems: Sequence[Problem]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for policy in ("beam", "dvts"):
        pairs: list[tuple[Figures, Figures]] = []
        for repeat in range(args.repeats):
            run = config(args, policy, seed=10 + repeat)
            ours = await through_pipeline(run, tools, problems)
            pairs.append((ours, await _in_lockstep(run, tools, problems)))
        out[policy] = {
            "faster by": statistics.median(theirs.wall_s / ours.wall_s for ours, theirs in pairs),
            "leaves here, in lockstep": [(ours.leaves, theirs.leaves) for ours, theirs in pairs],
            "seconds": [(round(ours.wall_s, 2), round(theirs.wall_s, 2)) for ours, theirs in pairs],
            "of the engine's sequences running, ends included": [tuple(mean_share(f, args) for f in p) for p in pairs],
        }
    return out
