"""What a coordinator costs, with workers that answer at once: the part of that name of scale.py, which starts it.

    python -P tests/benchmarks/scale_coordinator.py PROBLEMS.jsonl --lease 64

Survey, leases and reports of all problems; leases and reports are pickled as on their way through Ray. Prints CPU time
a problem, and memory at a tenth and at the end, as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import time

import psutil

from berry.pipeline.config.sections.problems import FileProblems
from berry.pipeline.garbage import freeze_what_is_loaded
from berry.pipeline.records import TokenLedger
from berry.pipeline.runtime.driver.coordinator import Coordinator
from berry.pipeline.runtime.scripted import ScriptedWorker
from berry.pipeline.stages.leases.lease import IteratedLeases, Lease, LeaseReport
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.problems.sources import survey

MIB = 1 << 20
TENTH = 0.1
SPENT = TokenLedger(generated=32_000, kept=16_000, extra={"segments": 1024, "requests": 64, "pruned.wrong": 16_000})
REPORT = pickle.dumps(LeaseReport(0, "worker", 64, 64, 1024, 512, {"wrong": 512}, SPENT, 1.0))


async def finish_at_once(lease: Lease) -> LeaseReport:
    """Costs what the wire costs the coordinator: it packs leases and unpacks reports."""
    pickle.dumps(lease)
    await asyncio.sleep(0)
    return pickle.loads(REPORT)


def coordinate(path: str, lease: int) -> dict[str, float]:
    sources = (FileProblems(path=path),)
    began = time.process_time()
    count = survey(sources).count
    surveyed = time.process_time()
    me, at_tenth = psutil.Process(), 0.0
    done = 0
    freeze_what_is_loaded()

    def add(_: LeaseReport) -> None:
        nonlocal at_tenth, done
        done += lease
        if not at_tenth and done >= TENTH * count:
            at_tenth = me.memory_info().rss / MIB

    coordinator = Coordinator(
        IteratedLeases(iter_leases(sources, size=lease, skip=set())),
        [ScriptedWorker(name, leases_at_once=8, run=finish_at_once) for name in ("a", "b")],
    )
    coordinator.on_report = add
    asyncio.run(coordinator.run())
    return {
        "survey_us": 1e6 * (surveyed - began) / count,
        "coordinator_us": 1e6 * (time.process_time() - surveyed) / count,
        "rss_tenth": at_tenth,
        "rss_end": me.memory_info().rss / MIB,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems")
    parser.add_argument("--lease", type=int, default=64, help="problems a lease")
    chosen = parser.parse_args()
    print(json.dumps(coordinate(chosen.problems, chosen.lease)))
