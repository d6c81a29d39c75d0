"""What an engine process takes a token and a request, in vLLM and in Berry: `python -P tests/benchmarks/feeder.py`.

    vllm       requests through vLLM's AsyncLLM alone, as Berry asks it           µs a token, µs a request
    berry      a best_of_n run of the same prompts, less `vllm`: searches, checks on the spot, journal, Parquet

Processor time of this process, which feeds an engine that computes in a process of its own. Each side has rounds of
short and of long samples; two such rounds give its time a token and its time a request (a request is one sampled
sequence). Medians over the pairs of rounds, with their range. Processor time hardly feels neighbours, so that the
machine need not be quiet. The figures are the defaults of `calibration` in `berry plan`
(`vllm_token_us` and the three beside it), from which it tells how many tokens/s an engine process can feed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from berry.pipeline.core.events import Until
from berry.pipeline.engines.build import build
from berry.pipeline.engines.vllm import compat
from berry.pipeline.engines.vllm import samples as vllm_samples
from berry.pipeline.garbage import freeze_what_is_loaded
from berry.verifiers.checker import Checker
from tests.benchmarks.overhead import Work, pipeline_round, prompts, requests, work_on


@dataclass(frozen=True)
class Spent:
    """One round: tokens, requests, and processor seconds of this process."""

    tokens: int
    requests: int
    cpu_s: float


def solve(short: Spent, long: Spent) -> tuple[float, float]:
    """Microseconds a token and a request that explain both rounds."""
    determinant = short.tokens * long.requests - long.tokens * short.requests
    token = (short.cpu_s * long.requests - long.cpu_s * short.requests) / determinant
    request = (long.cpu_s * short.tokens - short.cpu_s * long.tokens) / determinant
    return 1e6 * token, 1e6 * request


async def through_vllm(engine: Any, work: Work, index: int) -> Spent:
    """All samples of a round as requests of their own, as Berry's engine asks for them."""

    async def one(ids: list[int], params: Any, name: str) -> int:
        outputs = [out async for out in engine._llm.generate(compat.token_prompt(ids), params, name, priority=0)]
        return len(outputs[-1].outputs[0].token_ids)

    asked = requests(work, index, [engine.encode(chat) for chat in prompts(work, index)])
    began = time.process_time()
    most = work.until.max_tokens
    counts = await asyncio.gather(
        *(
            one(list(r.prompt_ids), vllm_samples.params(r, i, max_tokens=most, seeded=False), f"{r.request_id}#{i}")
            for r in asked
            for i in range(r.n)
        )
    )
    return Spent(sum(counts), len(counts), time.process_time() - began)


async def measure(work: Work, rounds: int, lengths: tuple[int, int]) -> dict[str, list[tuple[float, float]]]:
    """Microseconds a token and a request of each pair of rounds, the first pair left out."""
    engine = build(work.engine)
    await engine.start()
    found: dict[str, list[tuple[float, float]]] = {"vllm": [], "all": []}
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with Checker() as checker:

                async def through_berry(work: Work, index: int) -> Spent:
                    rate = await pipeline_round(engine, work, index, checker, folder)
                    return Spent(rate.tokens, work.problems * work.samples, rate.feeder_cpu_s)

                sides: dict[str, Callable[[Work, int], Awaitable[Spent]]] = {
                    "vllm": lambda work, index: through_vllm(engine, work, index),
                    "all": through_berry,
                }
                for i in range(rounds + 1):
                    for side, run in sides.items():
                        works = [replace(work, until=Until(max_tokens=length)) for length in lengths]
                        pair = [await run(one, 2 * i + place) for place, one in enumerate(works)]
                        if i:
                            found[side].append(solve(*pair))
                            print(f"round {i}, {side}: {pair}", file=sys.stderr, flush=True)
    finally:
        await engine.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="tiny-arithmetic")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lengths", type=int, nargs=2, default=(6, 100), help="most tokens of short and long samples")
    options = parser.parse_args()
    freeze_what_is_loaded()  # as the processes of a run's engines do
    found = asyncio.run(measure(work_on(options.model), options.rounds, tuple(options.lengths)))
    own = [(a[0] - v[0], a[1] - v[1]) for a, v in zip(found["all"], found["vllm"], strict=True)]
    for side, pairs in (("vllm", found["vllm"]), ("berry", own)):
        told = {}
        for name, values in zip(("token_us", "request_us"), zip(*pairs, strict=True), strict=True):
            told[name] = round(statistics.median(values), 1)
            told[f"{name}_range"] = [round(min(values), 1), round(max(values), 1)]
        print(json.dumps({"side": side, **told}), flush=True)


if __name__ == "__main__":
    main()
