"""What the journal costs: `python -P tests/benchmarks/journal.py`, or `… journal.py --unpaced` for the worst case.

The same leases with and without it, in turn, on the synthetic engine paced like an accelerator (every sequence decodes
at a speed of its own), so that the journal's work stands beside waiting, as in a run. Told are the medians of the
ratios of neighbouring turns, of wall time and of CPU time; `--unpaced` leaves the waiting out: all that is left is CPU.
A turn without the journal differs in nothing but that recording and flushing do nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.events import Event
from berry.pipeline.engines.build import build
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from berry.pipeline.stages.rollout.journal import LeaseJournal
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.verifiers.checker import Checker


class Silent(LeaseJournal):
    """Records nothing, and so writes nothing."""

    def record(self, problem_id: str, *events: Event) -> None: ...


class Unjournalled(LeaseWorker):
    """A worker whose crash would lose what is in flight."""

    async def _open_journal(self, lease: Lease) -> LeaseJournal:
        return Silent(self.location, lease.number, self.round_index)


def run_config(args: argparse.Namespace, seed: int) -> RunConfig:
    paced: dict[str, Any] = {} if args.unpaced else {"tokens_per_s": 100, "prefill_tokens_per_s": 20_000}
    return RunConfig.model_validate(
        {
            "name": "journal",
            "seed": seed,
            "problems": [{"type": "synthetic", "count": args.problems}],
            "engine": {"type": "synthetic", "max_num_seqs": args.seqs, **paced},
            "rollout": {"policy": {"type": "fixed", "branching": [4, 2, 2]}, "sampling": {"max_tokens": 256}},
        }
    )


async def turn(
    args: argparse.Namespace, folder: Path, *, kind: type[LeaseWorker], seed: int
) -> tuple[float, float, int]:
    """(wall seconds, CPU seconds, trajectories) of the same problems from the first search to the last commit."""
    run = run_config(args, seed)
    engine = build(run.engine, engine_id="bench")
    await engine.start()
    problems = synthetic_problems(args.problems, seed=1)
    size = run.storage.lease_problems
    leases = [Lease(i, tuple(problems[i * size : (i + 1) * size])) for i in range(-(-len(problems) // size))]
    async with Checker(run.verification) as checker:
        worker = kind(run, locate(folder / f"{time.time_ns()}"), engine, checker.check, "w", agree=checker.agree)
        worker.verify_here = checker.check_inline
        wall, spent = time.perf_counter(), time.process_time()
        reports = await asyncio.gather(*map(worker.run, leases))
        wall, spent = time.perf_counter() - wall, time.process_time() - spent
        await worker.close()
    return wall, spent, sum(report.trajectories for report in reports)


async def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    await turn(args, folder, kind=LeaseWorker, seed=99)  # warm
    walls: list[float] = []
    cpus: list[float] = []
    rates: list[float] = []
    for repeat in range(args.repeats):
        kinds: list[type[LeaseWorker]] = [LeaseWorker, Unjournalled]
        found = {}
        for kind in kinds if repeat % 2 else kinds[::-1]:  # who goes first changes, so that no side is always warmer
            found[kind] = await turn(args, folder, kind=kind, seed=repeat)
        (wall, spent, leaves), (wall_without, spent_without, leaves_without) = (found[kind] for kind in kinds)
        assert leaves == leaves_without
        walls.append(wall / wall_without)
        cpus.append(spent / spent_without)
        rates.append(leaves / wall)
    return {
        "trajectories/s with the journal": round(statistics.median(rates), 1),
        "wall time, with over without": told(walls),
        "CPU time, with over without": told(cpus),
    }


def told(ratios: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(ratios), 4),
        "least": round(min(ratios), 4),
        "most": round(max(ratios), 4),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--seqs", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--unpaced", action="store_true", help="the engine as fast as it can: the journal's worst case")
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(asyncio.run(measure(parser.parse_args(), Path(name))), indent=1))
