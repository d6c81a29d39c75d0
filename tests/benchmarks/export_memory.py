"""Memory that exports of one large problem take: `python -P tests/benchmarks/export_memory.py`.

Makes runs of one synthetic problem with `--trajectories` leaves in this process, then reads each, and exports it in
every format, each in a process of its own: what is in memory must not grow with the rows. Prints a row a format: its
rows of the largest run, peak resident memory for each run, and the bytes a trajectory by which it grows from the
smallest to the largest. `--policy best_of_n` has all trajectories below one node.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

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


def policy_of(name: str, trajectories: int) -> dict[str, Any]:
    """`fixed`: a tree that branches four times."""
    if name == "best_of_n":
        return {"type": "best_of_n", "n": trajectories}
    return {"type": "fixed", "branching": [max(1, trajectories // 500), 10, 10, 5]}


def make(folder: str, policy: dict[str, Any]) -> None:
    """A run of one problem."""
    raw = {
        "name": "large",
        "problems": [{"type": "synthetic", "count": 1, "seed": 9}],
        "engine": {"type": "synthetic", "filler_tokens": [0, 1]},
        "rollout": {
            "policy": policy,
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
    """Reads or exports, and prints rows and peak memory in MB."""
    run, rows = open_run(folder), 0
    if name == READ:
        rows = sum(len(stored.trajectories) for stored in read_trees(run))
    else:
        form, _, tokens = name.partition(" ")
        request = ExportRequest(form, tokens=bool(tokens), heldout_share=0.0)
        with tempfile.TemporaryDirectory() as out:
            rows = export(run, request, str(Path(out, "out"))).rows["train"]
    print(rows, peak_mb(), flush=True)


def peak_mb() -> float:
    """Of this program: the process's own figure would begin with that of the parent, which has made the runs."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def measured(folder: str, name: str) -> tuple[int, float]:
    """Rows and peak memory in MB of a process of its own."""
    command = [sys.executable, "-P", __file__, "--child", folder, name]
    rows, peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return int(rows), float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, nargs="+", default=[10_000, 50_000, 100_000])
    parser.add_argument("--policy", choices=["fixed", "best_of_n"], default="fixed")
    parser.add_argument("--formats", nargs="+", help="default: reading alone, and all, as text and as --tokens")
    parser.add_argument("--child", nargs=2, metavar=("RUN", "FORMAT"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        one(*chosen.child)
        return
    counts: list[int] = chosen.trajectories
    names = chosen.formats or (READ, *(f"{form}{tokens}" for form in formats() for tokens in ("", " --tokens")))
    with tempfile.TemporaryDirectory() as place:
        for count in counts:
            make(f"{place}/{count}", policy_of(chosen.policy, count))
        print(f"| format | rows | {' | '.join(f'{count:,}' for count in counts)} | bytes a trajectory |")
        print("|---" * (len(counts) + 3) + "|", flush=True)
        for name in names:
            found = [measured(f"{place}/{count}", name) for count in counts]
            peaks = [peak for _, peak in found]
            grown = (peaks[-1] - peaks[0]) * 2**20 / max(1, counts[-1] - counts[0])
            print(
                f"| {name} | {found[-1][0]:,} | {' | '.join(f'{p:,.0f}' for p in peaks)} | {grown:,.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
