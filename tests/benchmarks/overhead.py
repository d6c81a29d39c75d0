"""What the way through this repository costs over vLLM's own offline API: `python -P tests/benchmarks/overhead.py`.

    offline    LLM.generate, in one process, all requests in one call       generated tokens/s
    engine     pipeline.engines.vllm, the same requests at once             generated tokens/s, over offline
    pipeline   a best_of_n run of the same prompts: searches, verification, journal, Parquet     likewise
    unlogged   with --unlogged: the pipeline with log-probabilities neither worked out nor stored; what they cost is
               one less pipeline over unlogged, told as `logprobs_cost`; --logprobs-alone: these two sides alone

Same model, engine arguments, environment, sampling parameters and log-probabilities on both sides, each in a process of
its own and warm; no seeds a request, as users run it (`--reproducible` brings them back on both sides). Rounds
alternate, with fresh prompts every round; the median of the rounds' ratios is told with their range, so that a
neighbour on the machine disturbs both alike. `cpu_us_a_token` counts all processes of a side; it hardly feels the
neighbours, but neither does it show that the engine's processes work in parallel. `feeder_us_a_token` is the part of
this process alone, which feeds the engine; `loop_delay_ms` how late its event loop wakes at the 99th percentile.

Any folder with a model can be measured, with a budget of tokens for each sample; `--runner` says which of vLLM's model
runners both sides take, where it has two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import psutil

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines import models
from berry.pipeline.engines.base import Engine, Request
from berry.pipeline.engines.build import build
from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.engines.vllm import compat, host
from berry.pipeline.engines.vllm import samples as vllm_samples
from berry.pipeline.garbage import freeze_what_is_loaded
from berry.pipeline.records import Message
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.problems import arithmetic
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.verifiers.checker import Checker

ONE_THREAD = 1  # both sides: spinning threads would measure the neighbours


Side = Callable[[int], Awaitable["Rate"]]
"""One round of something, by the round's number."""


@dataclass(frozen=True)
class Work:
    """What one round generates."""

    engine: VllmEngine
    problems: int
    samples: int
    until: Until
    suffix: str = ""


@asynccontextmanager
async def no_logprobs(engine: Engine) -> AsyncIterator[None]:
    """Meanwhile the engine asks vLLM for no log-probabilities, and vLLM's sampler works none out: it would do that for
    each step, asked or not, since engines here are started so that they are of the distribution that was drawn from."""
    asked = vllm_samples.params

    def params(*args: Any, **named: Any) -> Any:
        made = asked(*args, **named)
        made.logprobs = None
        return made

    vllm_samples.params = params
    await _sampler_gives(engine, "raw_logprobs")
    try:
        yield
    finally:
        vllm_samples.params = asked
        await _sampler_gives(engine, "processed_logprobs")


async def _sampler_gives(engine: Any, mode: str) -> None:
    def change(worker: Any, mode: str) -> bool:
        sampler = worker.model_runner.sampler
        sampler.logprobs_mode = sampler.topk_topp_sampler.logprobs_mode = mode
        return True

    assert all(await engine._llm.collective_rpc(change, args=(mode,)))


@dataclass(frozen=True)
class Rate:
    """Generated tokens of one round, its seconds, and the processor seconds of all processes."""

    tokens: int
    wall_s: float
    cpu_s: float
    feeder_cpu_s: float = 0.0  # of this process alone
    loop_delay_s: float | None = None  # at the 99th percentile

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.wall_s

    @property
    def cpu_ms_a_token(self) -> float:
        return 1000 * self.cpu_s / self.tokens


def cpu_s() -> float:
    """Processor seconds of this process and those it has started, so far."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(spent.user + spent.system for spent in times)


WORKS = {
    "tiny-arithmetic": Work(
        VllmEngine(model="tiny-arithmetic", dtype="float32", max_model_len=128, max_num_seqs=128, threads=ONE_THREAD),
        problems=150,
        samples=8,
        until=Until(max_tokens=100),
    ),
    "smollm2-135m": Work(
        VllmEngine(model="smollm2-135m", dtype="bfloat16", max_model_len=512, max_num_seqs=32, threads=ONE_THREAD),
        problems=12,
        samples=4,
        until=Until(max_tokens=96),
        suffix=" Think step by step, then write the answer as a number on the last line.",
    ),
}


def work_on(model: str) -> Work:
    """What to do with this model: an alias above, or any folder."""
    if model in WORKS:
        return WORKS[model]
    engine = VllmEngine(model=model, dtype="bfloat16", max_model_len=1024, max_num_seqs=512, threads=ONE_THREAD)
    return Work(engine, problems=64, samples=8, until=Until(max_tokens=256))


def prompts(work: Work, round_index: int) -> list[list[Message]]:
    """Chats of one round: the same for every side, other ones every round."""
    drawn = arithmetic.draw(work.problems, seed=1000 + round_index)
    return [[{"role": "user", "content": f"{problem.prompt}{work.suffix}"}] for problem in drawn]


def requests(work: Work, round_index: int, prompt_ids: Sequence[list[int]]) -> list[Request]:
    return [
        Request(f"{round_index}/{i}", ids, work.samples, work.until, Sampling(), seed=(round_index * 1000 + i) * 64)
        for i, ids in enumerate(prompt_ids)
    ]


async def engine_round(engine: Engine, work: Work, round_index: int) -> Rate:
    """All requests of a round at once, through the engine that a run uses."""

    async def tokens(request: Request) -> int:
        return sum([len(s.completion.token_ids) async for s in engine.generate(request)])

    asked = requests(work, round_index, [engine.encode(chat) for chat in prompts(work, round_index)])
    spent, own, start = cpu_s(), time.process_time(), time.perf_counter()
    counts = await asyncio.gather(*map(tokens, asked))
    return Rate(sum(counts), time.perf_counter() - start, cpu_s() - spent, time.process_time() - own)


async def pipeline_round(engine: Engine, work: Work, round_index: int, checker: Checker, folder: str) -> Rate:
    """The same prompts, samples and limits as a run: leases on a worker, verdicts on the spot where they take no tool
    (as rollout actors decide them), shards, to the last commit."""
    drawn = arithmetic.draw(work.problems, seed=1000 + round_index)
    problems = [p.model_copy(update={"prompt": f"{p.prompt}{work.suffix}"}) for p in drawn]
    run = RunConfig.model_validate(
        {
            "name": "overhead",
            "seed": round_index,
            "problems": [{"type": "arithmetic", "count": work.problems}],
            "engine": work.engine.model_dump(),
            "rollout": {
                "policy": {"type": "best_of_n", "n": work.samples},
                "sampling": {"max_tokens": work.until.max_tokens},
            },
        }
    )
    where = locate(f"{folder}/{round_index}")
    worker = LeaseWorker(run, where, engine, checker.check, "w", verify_here=checker.check_inline)
    size = run.storage.lease_problems
    leases = [Lease(i, tuple(problems[i * size : (i + 1) * size])) for i in range(-(-len(problems) // size))]
    before, spent, own = engine.counters().generated_tokens, cpu_s(), time.process_time()
    start = time.perf_counter()
    await asyncio.gather(*map(worker.run, leases))
    wall_s, cpu, feeder = time.perf_counter() - start, cpu_s() - spent, time.process_time() - own
    generated = engine.counters().generated_tokens - before
    return Rate(generated, wall_s, cpu, feeder, worker.snapshot().loop_delay_p99_s)


class Offline:
    """vLLM's offline API in a process of its own, idle between rounds. `sizes`: the options that `sized` has read."""

    def __init__(self, name: str, work: Work, sizes: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, name, "--serve-offline", *sizes],
            env={**os.environ, **host.environment(work.engine, host.device_here())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def round(self, round_index: int) -> Rate:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{round_index}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                return Rate(**json.loads(line))
        raise SystemExit("the offline side has ended: run it by hand with --serve-offline to see why")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve_offline(work: Work) -> None:
    """Answers each round index on standard input with a line of JSON."""
    from vllm import LLM

    folder = models.resolve(work.engine.model)
    coder = Tokens(folder)
    device = host.device_here()
    arguments = host.engine_arguments(work.engine, folder, device, host.num_seqs(work.engine, folder, device))
    llm = LLM(**arguments)
    for line in sys.stdin:
        index = int(line)
        asked = requests(work, index, [coder.encode(chat) for chat in prompts(work, index)])
        inputs = [compat.token_prompt(list(request.prompt_ids)) for request in asked]
        settings = []
        for request in asked:
            params = vllm_samples.params(request, 0, max_tokens=work.until.max_tokens, seeded=work.engine.reproducible)
            params.n = request.n
            settings.append(params)
        spent, start = cpu_s(), time.perf_counter()
        outputs = llm.generate(inputs, settings, use_tqdm=False)
        wall_s, cpu = time.perf_counter() - start, cpu_s() - spent
        tokens = sum(len(one.token_ids) for output in outputs for one in output.outputs)
        print(json.dumps(asdict(Rate(tokens, wall_s, cpu))), flush=True)


async def compare(
    name: str, work: Work, rounds: int, sizes: Sequence[str] = (), *, unlogged: bool = False
) -> dict[str, object]:
    """Ratios of engine and pipeline over offline, in tokens/s."""
    offline = Offline(name, work, sizes)
    engine = build(work.engine)
    await asyncio.to_thread(offline.round, 0)  # on a GPU each measures what is free while it starts: not both at once
    await engine.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with Checker() as checker:
                sides: dict[str, Side] = {
                    "offline": lambda i: asyncio.to_thread(offline.round, i),
                    "engine": lambda i: engine_round(engine, work, i),
                    **pipelines(engine, work, checker, folder, unlogged=unlogged),
                }
                found = await alternate(sides, rounds)
        versions = engine.info.versions
    finally:
        await engine.close()
        offline.close()
    told: dict[str, Any] = {"model": name, "runner": versions.get("runner"), "sampler": versions.get("sampler")}
    for side, rates in found.items():
        ratios = sorted(r.tokens_per_s / o.tokens_per_s for r, o in zip(rates, found["offline"], strict=True))
        told[side] = {
            "tokens_per_s": round(statistics.median(r.tokens_per_s for r in rates)),
            "over_offline": round(statistics.median(ratios), 3),
            "range": [round(ratios[0], 3), round(ratios[-1], 3)],
            "cpu_us_a_token": round(1000 * statistics.median(r.cpu_ms_a_token for r in rates), 1),
            "wall_us_a_token": round(statistics.median(1e6 / r.tokens_per_s for r in rates), 1),
        }
        if side != "offline":
            feeder = statistics.median(1e6 * r.feeder_cpu_s / r.tokens for r in rates)
            told[side] |= {"feeder_us_a_token": round(feeder, 1)}
        delays = [r.loop_delay_s for r in rates if r.loop_delay_s is not None]
        if delays:
            told[side] |= {"loop_delay_ms": round(1000 * statistics.median(delays), 1)}
    if unlogged:
        told["logprobs_cost"] = cost(found["pipeline"], found["unlogged"])
    return told


async def cost_alone(name: str, work: Work, rounds: int, what: str) -> dict[str, object]:
    """What log-probabilities, or seeds, cost the pipeline (`what`), without the sides that this does not need."""
    engine = build(work.engine)
    await engine.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with Checker() as checker:
                if what == "logprobs":
                    sides = pipelines(engine, work, checker, folder, unlogged=True)
                else:
                    sides = with_seeds_and_without(engine, work, checker, folder)
                found = await alternate(sides, rounds)
    finally:
        await engine.close()
    return {"model": name, f"{what}_cost": cost(*found.values())}


def with_seeds_and_without(engine: Any, work: Work, checker: Checker, folder: str) -> dict[str, Side]:
    """Runs with a seed for each sample (`engine.reproducible`), and without, on one engine."""

    def side(name: str, *, reproducible: bool) -> Side:
        async def run(index: int) -> Rate:
            engine._config = engine._config.model_copy(update={"reproducible": reproducible})
            return await pipeline_round(engine, work, index, checker, f"{folder}/{name}")

        return run

    return {"seeded": side("seeded", reproducible=True), "pipeline": side("pipeline", reproducible=False)}


def pipelines(engine: Engine, work: Work, checker: Checker, folder: str, *, unlogged: bool) -> dict[str, Side]:
    """A whole run with log-probabilities, and one without where that is asked for."""

    async def without(index: int) -> Rate:
        async with no_logprobs(engine):
            return await pipeline_round(engine, work, index, checker, f"{folder}/unlogged")

    sides: dict[str, Side] = {"pipeline": lambda i: pipeline_round(engine, work, i, checker, folder)}
    return sides | {"unlogged": without} if unlogged else sides


async def alternate(sides: Mapping[str, Side], rounds: int) -> dict[str, list[Rate]]:
    """So many rounds of each side, in turns; the first round warms all up."""
    found: dict[str, list[Rate]] = {side: [] for side in sides}
    for index in range(rounds + 1):
        for side in sides if index % 2 else reversed(list(sides)):
            rate = await sides[side](index)
            if index:
                found[side].append(rate)
                told = f"{rate.tokens_per_s:.1f} tokens/s, {rate.cpu_ms_a_token:.2f} ms of CPU each"
                print(
                    f"round {index}, {side}: {told}", file=sys.stderr, flush=True
                )  # a run that is cut off has not been in vain
    return found


def cost(logged: Sequence[Rate], unlogged: Sequence[Rate]) -> dict[str, object]:
    """The share of tokens/s that log-probabilities, or seeds, take, and of CPU time that they add. Both sides have a
    round's prompts, and the one that comes second finds them in the prefix cache; so two rounds, in which each was
    second once, are one figure. `cpu_low`: of CPU time, between the rounds of each side that took least."""
    pairs = list(zip(logged, unlogged, strict=True))
    costs = in_both_orders([1 - p.tokens_per_s / u.tokens_per_s for p, u in pairs])
    added = in_both_orders([p.cpu_ms_a_token / u.cpu_ms_a_token - 1 for p, u in pairs])
    return {
        "median": round(statistics.median(costs), 3),
        "range": [round(min(costs), 3), round(max(costs), 3)],
        "two_rounds": [round(one, 3) for one in costs],
        "tokens_per_s": round(statistics.median(p.tokens_per_s for p, _ in pairs)),
        "cpu": round(statistics.median(added), 3),
        "cpu_low": round(low([p.cpu_ms_a_token for p, _ in pairs]) / low([u.cpu_ms_a_token for _, u in pairs]) - 1, 3),
        "cpu_two_rounds": [round(one, 3) for one in added],
    }


def in_both_orders(rounds: Sequence[float]) -> list[float]:
    """Means of two rounds that follow each other; a last one alone is left out, unless it is the only one."""
    return [statistics.mean(rounds[i : i + 2]) for i in range(0, max(1, len(rounds) - 1), 2)]


def low(values: Sequence[float]) -> float:
    """The mean of the lowest quarter: of rounds that neighbours on the machine disturbed least."""
    return statistics.mean(sorted(values)[: max(1, len(values) // 4)])


def sized(work: Work, options: argparse.Namespace) -> tuple[Work, list[str]]:
    """The work with the sizes that were asked for, and the options that say so again to the other side."""
    engine = {"max_num_seqs": options.seqs, "gpu_memory_utilization": options.memory_share}
    engine["reproducible"] = True if options.reproducible else None
    until = None if options.tokens is None else Until(max_tokens=options.tokens)
    outer = {"problems": options.problems, "samples": options.samples, "until": until}
    engine = {key: value for key, value in engine.items() if value is not None}
    outer = {key: value for key, value in outer.items() if value is not None}
    names = {"max_num_seqs": "seqs", "gpu_memory_utilization": "memory-share"}
    given = [(names.get(key, key), value) for key, value in (engine | outer).items() if key != "until"]
    given += [] if options.tokens is None else [("tokens", options.tokens)]
    said = [word for name, value in given for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)])]
    return replace(work, engine=work.engine.model_copy(update=engine), **outer), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="*", help=f"of {', '.join(WORKS)}, or a folder; default: these")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--problems", type=int, help="a round; default: by model")
    parser.add_argument("--samples", type=int, help="a problem; default: by model")
    parser.add_argument("--tokens", type=int, help="a sample, at most; default: by model")
    parser.add_argument("--seqs", type=int, help="decoded at once; default: by model")
    parser.add_argument(
        "--memory-share", type=float, help="of the GPU, for each of the two engines on it: at most 0.45"
    )
    parser.add_argument("--runner", choices=["v1", "v2"], help="vLLM's model runner; default: what vLLM takes")
    parser.add_argument("--reproducible", action="store_true", help="a seed for each sample, on all sides")
    parser.add_argument("--unlogged", action="store_true", help="also without log-probabilities: what these cost")
    parser.add_argument("--logprobs-alone", action="store_true", help="nothing but what log-probabilities cost")
    parser.add_argument("--seeds-alone", action="store_true", help="nothing but what seeds for each sample cost")
    parser.add_argument("--serve-offline", action="store_true", help="the other side, started by this one")
    options = parser.parse_args()
    freeze_what_is_loaded()  # as the processes of a run's engines do
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # by which `no_logprobs` reaches the sampler
    names = options.model or list(WORKS)
    if options.runner:  # inherited by all processes
        os.environ["VLLM_USE_V2_MODEL_RUNNER"] = str(int(options.runner == "v2"))
    if options.serve_offline:
        serve_offline(sized(work_on(names[0]), options)[0])
        return
    for name in names:
        work, sizes = sized(work_on(name), options)
        if options.logprobs_alone or options.seeds_alone:
            what = "logprobs" if options.logprobs_alone else "seeds"
            told = asyncio.run(cost_alone(name, work, options.rounds, what))
        else:
            told = asyncio.run(compare(name, work, options.rounds, sizes, unlogged=options.unlogged))
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
