"""How the pipeline itself scales, on the synthetic engine at full speed: no model, no waiting.

    python -P tests/benchmarks/scale.py --problems 20000                     both parts, minutes
    python -P tests/benchmarks/scale.py --problems 1000000 --parts coordinator
    python -P tests/benchmarks/scale.py --problems 1000000                 the whole of it: half an hour on two cores

Parts, each in processes of its own, on a problem file that is written first:
  coordinator  survey, leases and reports of all problems; workers that answer at once; leases and reports are pickled
               as on their way through Ray. CPU time a problem, and memory at a tenth and at the end.
  pipeline     `berry run` on Ray, two rollout actors: search, verification on the spot, pruning, Parquet. Rates between
               a tenth of the run and its end, and the memory of each process at both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from pipeline.config.problems import FileProblems
from pipeline.errors import BerryError
from pipeline.records import TokenLedger
from pipeline.runtime.coordinator import Coordinator
from pipeline.runtime.memory import collect_rarely
from pipeline.stages.handout import leases
from pipeline.stages.leases import Lease, LeaseReport, Snapshot
from pipeline.stages.problems import survey
from pipeline.storage import live
from pipeline.storage.dataset import open_run

MIB = 1 << 20
TENTH = 0.1


@dataclass(frozen=True)
class Mark:
    """One look at a run: done in [0, 1], seconds, and of each role its resident MiB and CPU seconds so far."""

    done: float
    at_s: float
    trajectories: int
    rss: dict[str, float]
    cpu_s: dict[str, float]


def write_problems(path: Path, count: int) -> None:
    """Short sums with an integer answer: what costs is the pipeline, not the length of an answer."""
    chance = random.Random(1)
    with path.open("w") as out:
        for index in range(count):
            total = start = chance.randint(4000, 6000)
            words = []
            for _ in range(2 + index % 2):
                change = chance.choice((-1, 1)) * chance.randint(1, 50)
                total += change
                words.append(f"{'add' if change > 0 else 'subtract'} {abs(change)}")
            prompt = f"Start with {start}. Then {', '.join(words)}. What is the result?"
            row = {"id": f"sum-{index}", "prompt": prompt, "verifier": {"type": "math", "answer": str(total)}}
            out.write(json.dumps(row) + "\n")


# ---- coordinator ----------------------------------------------------------------------------------------------------


SPENT = TokenLedger(generated=32_000, kept=16_000, extra={"segments": 1024, "requests": 64, "pruned.wrong": 16_000})
REPORT = pickle.dumps(LeaseReport(0, "worker", 64, 64, 1024, 512, {"wrong": 512}, SPENT, 1.0))


class Echo:
    """A worker that has always just finished."""

    leases_at_once = 8

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id

    async def run_lease(self, lease: Lease) -> LeaseReport:
        """What crosses the wire costs the coordinator one half: it packs leases and unpacks reports."""
        pickle.dumps(lease)
        await asyncio.sleep(0)
        return pickle.loads(REPORT)

    async def recover(self) -> None: ...

    async def refresh(self) -> list[str]:
        return []

    async def snapshot(self) -> Snapshot | None:
        return None

    async def checks(self) -> list[dict[str, float]]:
        return []


def coordinate(path: str, args: argparse.Namespace) -> dict[str, float]:
    """Runs in a process of its own."""
    sources = (FileProblems(path=path),)
    began = time.process_time()
    count = survey(sources).count
    surveyed = time.process_time()
    me, at_tenth = psutil.Process(), 0.0
    done = 0
    collect_rarely()

    def add(_: LeaseReport) -> None:
        nonlocal at_tenth, done
        done += args.lease
        if not at_tenth and done >= TENTH * count:
            at_tenth = me.memory_info().rss / MIB

    coordinator = Coordinator(leases(sources, size=args.lease, skip=set()), [Echo("a"), Echo("b")])
    coordinator.on_report = add
    asyncio.run(coordinator.run())
    return {
        "survey_us": 1e6 * (surveyed - began) / count,
        "coordinator_us": 1e6 * (time.process_time() - surveyed) / count,
        "rss_tenth": at_tenth,
        "rss_end": me.memory_info().rss / MIB,
    }


# ---- pipeline -------------------------------------------------------------------------------------------------------


def run_config(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    return {
        "problems": [{"type": "file", "path": str(path)}],
        "engine": {"type": "synthetic", "filler_tokens": [0, 2], "cache_tokens": 0},
        "rollout": {"policy": {"type": "best_of_n", "n": args.leaves}},
        "storage": {"lease_problems": args.lease},
        "cluster": {
            "name": "scale",
            "nodes": {"here": {"cores": args.workers + 1, "accelerator": "cpu-core", "usd_per_hour": 0}},
            "roles": {
                "rollout": {"cpus": 1, "min": args.workers, "max": args.workers},
                "sandbox": {"cpus": 0.1, "slots": 1, "min": 1, "max": 1},
            },
        },
    }


def drive(folder: Path, problems: Path, args: argparse.Namespace) -> list[Mark]:
    """`berry run`, looked at from outside."""
    config = folder / "scale.yaml"
    config.write_text(yaml.safe_dump(run_config(problems, args)))
    command = [sys.executable, "-m", "pipeline", "run", str(config), "--run", str(folder / "run")]
    marks: list[Mark] = []
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(0.5)
                mark = look(folder / "run", psutil.Process(process.pid), args.problems)
                if mark is not None and "actor" in mark.rss and (not marks or mark.done > marks[-1].done):
                    marks.append(mark)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        raise SystemExit((folder / "log").read_text())
    return marks


def look(place: Path, driver: psutil.Process, problems: int) -> Mark | None:
    try:
        now = next(iter(live.read(open_run(str(place)))), None)
    except BerryError:
        return None
    if now is None or not now.view.get("problems"):
        return None
    rss: dict[str, float] = {}
    cpu_s: dict[str, float] = {}
    for role, process in roles(driver):
        try:
            times = process.cpu_times()
            rss[role] = max(rss.get(role, 0.0), process.memory_info().rss / MIB)
            cpu_s[role] = cpu_s.get(role, 0.0) + times.user + times.system
        except psutil.Error:
            continue
    view = now.view
    return Mark(view["problems"] / problems, now.written_at, view["trajectories"], rss, cpu_s)


def roles(driver: psutil.Process) -> Iterator[tuple[str, psutil.Process]]:
    """The driver, its rollout actors, and everything else that Ray started."""
    yield "driver", driver
    try:
        others = driver.children(recursive=True)
    except psutil.Error:
        return
    for other in others:
        try:
            line = " ".join(other.cmdline())
        except psutil.Error:
            continue
        yield ("actor" if "RolloutActor" in line else "sandbox" if "SandboxActor" in line else "ray"), other


# ---- the table ------------------------------------------------------------------------------------------------------


def pipeline_rows(marks: list[Mark], folder: Path, args: argparse.Namespace) -> list[tuple[str, str, str]]:
    if not marks:
        raise SystemExit(f"{args.problems} problems are too few: the run was over before it was looked at")
    first = next((m for m in marks if m.done >= TENTH), marks[0])
    last = marks[-1]
    wall_s, grown = last.at_s - first.at_s, last.trajectories - first.trajectories
    solved = (last.done - first.done) * args.problems
    if wall_s <= 0:
        raise SystemExit(f"{args.problems} problems are too few: the run was over before it was looked at twice")
    rows = [("whole pipeline, trajectories/s", f"{grown / wall_s:,.0f}", "> 20,000")]
    rows += [
        (f"CPU a trajectory, {role}, µs", f"{1e6 * (last.cpu_s[role] - first.cpu_s.get(role, 0)) / grown:.0f}", "")
        for role in last.cpu_s
    ]
    driver_us = 1e6 * (last.cpu_s["driver"] - first.cpu_s["driver"]) / solved
    rows.append(("coordinator in the run, CPU a problem, µs", f"{driver_us:.0f}", "< 50"))
    for role in ("driver", "actor"):
        growth = last.rss[role] / first.rss[role] - 1
        text = f"{first.rss[role]:.0f} → {last.rss[role]:.0f} ({growth:+.1%})"
        rows.append((f"memory of the {role}, MiB, at {first.done:.0%} → {last.done:.0%}", text, "within 10%"))
    files = list((folder / "run" / "round=0").rglob("*.parquet"))
    size = sum(f.stat().st_size for f in files)
    rows.append(("Parquet files; bytes a trajectory", f"{len(files)}; {size / last.trajectories:.0f}", ""))
    return rows


def coordinator_rows(found: dict[str, float]) -> list[tuple[str, str, str]]:
    growth = found["rss_end"] / found["rss_tenth"] - 1
    text = f"{found['rss_tenth']:.0f} → {found['rss_end']:.0f} ({growth:+.1%})"
    return [
        ("coordinator alone, CPU a problem, µs", f"{found['coordinator_us']:.0f}", "< 50"),
        ("survey before the run, CPU a problem, µs", f"{found['survey_us']:.0f}", ""),
        ("memory of the coordinator, MiB, at 10% → 100%", text, "within 10%"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=1_000_000)
    parser.add_argument("--leaves", type=int, default=16, help="trajectories a problem")
    parser.add_argument("--lease", type=int, default=64, help="problems a lease, and so a set of files")
    parser.add_argument("--workers", type=int, default=2, help="rollout actors")
    parser.add_argument("--parts", nargs="+", default=["coordinator", "pipeline"])
    parser.add_argument("--coordinate", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.coordinate:
        print(json.dumps(coordinate(args.coordinate, args)))
        return
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problems = folder / "problems.jsonl"
        write_problems(problems, args.problems)
        if "coordinator" in args.parts:
            command = [sys.executable, "-P", __file__, "--coordinate", str(problems), "--lease", str(args.lease)]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            rows += coordinator_rows(json.loads(done.stdout))
        if "pipeline" in args.parts:
            rows += pipeline_rows(drive(folder, problems, args), folder, args)
    print(f"{args.problems:,} problems, {args.leaves} trajectories each, leases of {args.lease}, {args.workers} actors")
    width = max(len(row[0]) for row in rows)
    for what, value, target in rows:
        print(f"  {what:<{width}}  {value:>24}  {target}")


if __name__ == "__main__":
    main()
