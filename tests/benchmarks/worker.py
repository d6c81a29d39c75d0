"""What one rollout worker costs by itself: CPU time a trajectory, on the synthetic engine at full speed, without Ray.

    python -P tests/benchmarks/worker.py                                     trees of 512, as scale.py has them
    python -P tests/benchmarks/worker.py --branching 4 4 4 --steps 2 3       trees of 64
    python -P tests/benchmarks/worker.py --independent 16 --steps 2 3        whole answers from the prompt
    python -P tests/benchmarks/worker.py --profile 40                        and where the time goes

Leases of scale.py's problems go through search, verification on the spot, pruning and Parquet, so many at once as a
driver hands out. CPU time of the process over trajectories, in µs: the median of `--repeats`, after a warm-up. A core
is full at 1e6 over this. It holds on a noisy machine where rates do not; compare two versions in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import math
import pstats
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.build import build
from berry.pipeline.garbage import freeze_what_is_loaded
from berry.pipeline.records import Problem
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.problems.sources import iter_problems
from berry.pipeline.stages.rollout.admission import searches_at_once
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.verifiers.base import Verdict
from berry.verifiers.checker import CheckRequest
from berry.verifiers.inline import check_inline
from tests.benchmarks.scale import run_config, write_problems


async def never(_: CheckRequest) -> Verdict:
    raise AssertionError("these problems are checked on the spot")


async def measure(
    config: RunConfig, problems: Sequence[Problem], folder: Path, profile: cProfile.Profile | None
) -> float:
    """CPU µs a trajectory over `problems`, on a fresh engine and worker."""
    engine = build(config.engine_on_its_share(), engine_id="bench")
    await engine.start()
    here = partial(check_inline, strictness=config.verification.strictness)
    worker = LeaseWorker(config, locate(folder), engine, never, "bench", verify_here=here)
    size = config.storage.lease_problems
    leases = iter([Lease(i // size, tuple(problems[i : i + size])) for i in range(0, len(problems), size)])
    at_once = math.ceil(searches_at_once(config.rollout, engine.info.max_num_seqs) / size) + 1

    async def serve() -> int:
        return sum([(await worker.run(lease)).trajectories for lease in leases])

    if profile is not None:
        profile.enable()
    started = time.process_time()
    done = sum(await asyncio.gather(*(serve() for _ in range(at_once))))
    spent = time.process_time() - started
    if profile is not None:
        profile.disable()
    await worker.close()
    return 1e6 * spent / done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=80)
    parser.add_argument("--branching", type=int, nargs="+", default=[8, 8, 8], help="of a problem's tree")
    parser.add_argument("--independent", type=int, help="trajectories a problem without shared prefixes, instead")
    parser.add_argument("--steps", type=int, nargs=2, default=[3, 4], help="a problem takes from so many to so many")
    parser.add_argument("--lease", type=int, default=8, help="problems a lease")
    parser.add_argument("--lease-trajectories", type=int, help="trajectories a lease, instead of problems")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", type=int, help="print so many functions, by their own time")
    args = parser.parse_args()
    args.workers = 1
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "problems.jsonl"
        write_problems(path, args.problems, tuple(args.steps))
        config = RunConfig.model_validate({"name": "worker", **run_config(path, args)})
        problems = list(iter_problems(config.problems))
        freeze_what_is_loaded()

        def once(folder: str, profile: cProfile.Profile | None = None) -> float:
            return asyncio.run(measure(config, problems, Path(name) / folder, profile))

        once("warm-up")
        found = [once(f"run-{i}") for i in range(args.repeats)]
        print(f"{statistics.median(found):.1f} µs a trajectory ({', '.join(f'{x:.1f}' for x in found)})")
        if args.profile:
            profile = cProfile.Profile(builtins=True)
            once("profiled", profile)
            pstats.Stats(profile).sort_stats("tottime").print_stats(args.profile)


if __name__ == "__main__":
    main()
