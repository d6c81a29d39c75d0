"""Memory that exports of one large problem take: `python -P tests/benchmarks/export_memory.py`.

Makes a run of one synthetic problem with `--trajectories` leaves in this process, then reads it, and exports it in
every format, each in a process of its own. A tree is in memory while its rows are made; what an export takes on top
must not grow with its rows. Prints a row a format: rows, peak resident memory, and CPU seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.stages.export.registry import formats
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.problems.sources import survey
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.run.directory import open_run, prepare
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest

READ = "(read)"


async def _check(request: CheckRequest) -> Verdict:
    said = request.response.rpartition("\\boxed{")[2].partition("}")[0]
    right = said == getattr(request.spec, "answer", None)
    return verdict(Reason.CORRECT if right else Reason.WRONG_ANSWER, answer=said)


def make(folder: str, trajectories: int) -> None:
    """A run of one problem whose tree branches four times."""
    raw = {
        "name": "large",
        "problems": [{"type": "synthetic", "count": 1, "seed": 9}],
        "engine": {"type": "synthetic", "filler_tokens": [0, 1]},
        "rollout": {
            "policy": {"type": "fixed", "branching": [max(1, trajectories // 500), 10, 10, 5]},
            "step": {"type": "delimiter", "delimiters": ["\n\n"]},
            "sampling": {"max_tokens": 200},
        },
        "pruning": [{"type": "verdict"}],
    }
    config = validate(raw, RunConfig, where="benchmark")
    found = survey(config.problems)
    run, _ = prepare(folder, config, {"problems": {"count": found.count, "digest": found.digest}})

    async def work() -> None:
        worker = LeaseWorker(config, run.location, Synthetic(config.engine), _check, "benchmark")  # type: ignore[arg-type]
        for lease in iter_leases(config.problems, size=config.storage.lease_problems, skip=()):
            await worker.run(lease)
        await worker.close()

    asyncio.run(work())


def one(folder: str, name: str) -> None:
    """Reads or exports, and prints a row of the table."""
    begun, run, rows = time.process_time(), open_run(folder), 0
    if name == READ:
        rows = sum(len(stored.trajectories) for stored in read_trees(run))
    else:
        form, _, tokens = name.partition(" ")
        request = ExportRequest(form, tokens=bool(tokens), heldout_share=0.0)
        with tempfile.TemporaryDirectory() as out:
            rows = export(run, request, str(Path(out, "out"))).rows["train"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {name} | {rows:,} | {peak:,.0f} | {time.process_time() - begun:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=50_000)
    parser.add_argument("--child", nargs=2, metavar=("RUN", "FORMAT"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        one(*chosen.child)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = f"{place}/run"
        make(folder, chosen.trajectories)
        print("| format | rows | peak MB | CPU s |\n|---|---|---|---|", flush=True)
        for name in (READ, *(f"{form}{tokens}" for form in formats() for tokens in ("", " --tokens"))):
            subprocess.run([sys.executable, "-P", __file__, "--child", folder, name], check=True)


if __name__ == "__main__":
    main()
