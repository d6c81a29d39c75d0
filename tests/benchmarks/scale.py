"""How the pipeline itself scales, on the synthetic engine at full speed: no model, no waiting.

    python -P tests/benchmarks/scale.py --problems 4000                          both parts, in trees: minutes
    python -P tests/benchmarks/scale.py --problems 20000 --branching 4 4 4 --lease-trajectories 4096       smaller trees
    python -P tests/benchmarks/scale.py --problems 20000 --independent 16 --steps 2 3 --lease-trajectories 4096
                                                                                                   no shared prefixes
    python -P tests/benchmarks/scale.py --problems 1000000 --parts coordinator

Parts, each in processes of its own, on a problem file that is written first:
  coordinator  survey, leases and reports of all problems; workers that answer at once; leases and reports are pickled
               as on their way through Ray. CPU time a problem, and memory at a tenth and at the end.
  pipeline     `berry run` on Ray, two rollout actors: search, verification on the spot, pruning, Parquet. Rates between
               a tenth of the run and the last look at it before files are merged, and the memory of each process at
             both. The merging after the round is told apart.

A trajectory is a leaf of a problem's tree. The tree is `--branching` wide: a step a segment, and the rest of the answer
in the last one; `--independent` samples whole answers from the prompt instead. Problems take `--steps` steps. What that
comes to (segments and tokens a trajectory, how many pass, how many answers are different texts) is read from the files
of the run and printed above the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psutil
import yaml

from berry.pipeline.errors import BerryError
from berry.pipeline.storage.run import live
from berry.pipeline.storage.run.directory import open_run

MIB = 1 << 20
TENTH = 0.1
SAMPLED = 16  # leases
ROLES = {"RolloutActor": "actor", "SandboxActor": "sandbox", "merge_process": "merging"}  # by the command line
LOOK_S = 2.0  # looking twice a second takes 5% of a core from what is looked at


@dataclass(frozen=True)
class Mark:
    """One look at a run: done in [0, 1], seconds, and of each role its resident MiB and CPU seconds so far."""

    done: float
    at_s: float
    trajectories: int
    rss: dict[str, float]
    cpu_s: dict[str, float]


def write_problems(path: Path, count: int, steps: tuple[int, int]) -> None:
    """Short sums with an integer answer: what costs is the pipeline, not the length of an answer."""
    chance = random.Random(1)
    with path.open("w") as out:
        for index in range(count):
            total = start = chance.randint(4000, 6000)
            words = []
            for _ in range(steps[0] + index % (steps[1] - steps[0] + 1)):
                change = chance.choice((-1, 1)) * chance.randint(1, 50)
                total += change
                words.append(f"{'add' if change > 0 else 'subtract'} {abs(change)}")
            prompt = f"Start with {start}. Then {', '.join(words)}. What is the result?"
            row = {"id": f"sum-{index}", "prompt": prompt, "verifier": {"type": "math", "answer": str(total)}}
            out.write(json.dumps(row) + "\n")


# ---- pipeline -------------------------------------------------------------------------------------------------------


def run_config(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    policy: dict[str, Any] = {"type": "fixed", "branching": args.branching}
    if args.independent:
        policy = {"type": "best_of_n", "n": args.independent}
    by_trajectories = args.lease_trajectories is not None
    storage = {"lease_trajectories": args.lease_trajectories} if by_trajectories else {"lease_problems": args.lease}
    return {
        "problems": [{"type": "file", "path": str(path)}],
        "engine": {"type": "synthetic", "filler_tokens": [0, 2], "cache_tokens": 0},
        "rollout": {"policy": policy},
        "storage": storage,
        "cluster": {
            "name": "scale",
            "nodes": {"here": {"cores": args.workers + 1, "accelerator": "cpu-core", "usd_per_hour": 0}},
            "roles": {
                "rollout": {"cpus": 1, "min": args.workers, "max": args.workers},
                "sandbox": {"cpus": 0.1, "slots": 1, "min": 1, "max": 1},
            },
        },
    }


def drive(folder: Path, problems: Path, args: argparse.Namespace) -> tuple[list[Mark], float]:
    """`berry run`, looked at from outside, until files are merged; the CPU seconds of the merging come second."""
    config = folder / "scale.yaml"
    config.write_text(yaml.safe_dump(run_config(problems, args)))
    command = [sys.executable, "-m", "berry", "run", str(config), "--run", str(folder / "run")]
    marks: list[Mark] = []
    merging_s = 0.0
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(LOOK_S)
                mark = look(folder / "run", psutil.Process(process.pid), args.problems)
                if mark is None or "actor" not in mark.rss:
                    continue
                if "merging" in mark.cpu_s:
                    merging_s = mark.cpu_s["merging"]
                elif not marks or mark.done > marks[-1].done:
                    marks.append(mark)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        raise SystemExit((folder / "log").read_text())
    return marks, merging_s


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
    """The driver, its rollout actors, what merges files after the round, and everything that Ray started."""
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
        yield next((role for name, role in ROLES.items() if name in line), "ray"), other


# ---- the table ------------------------------------------------------------------------------------------------------


def pipeline_rows(
    marks: list[Mark], merging_s: float, folder: Path, args: argparse.Namespace
) -> list[tuple[str, str, str]]:
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
    rows.append(("merging files afterwards, CPU a trajectory, µs", f"{1e6 * merging_s / last.trajectories:.1f}", ""))
    driver_s = last.cpu_s["driver"] - first.cpu_s["driver"]
    told = f"{1e6 * driver_s / solved:.0f}; {driver_s / wall_s:.1%}"
    rows.append(("driver in the run, CPU a problem, µs; share of a core", told, ""))
    for role in ("driver", "actor"):
        growth = last.rss[role] / first.rss[role] - 1
        text = f"{first.rss[role]:.0f} → {last.rss[role]:.0f} ({growth:+.1%})"
        rows.append((f"memory of the {role}, MiB, at {first.done:.0%} → {last.done:.0%}", text, "within 10%"))
    files = list((folder / "run" / "round=0").rglob("*.parquet"))
    size = sum(f.stat().st_size for f in files)
    rows.append(("Parquet files; bytes a trajectory", f"{len(files)}; {size / last.trajectories:.0f}", ""))
    return [*shape_rows(folder / "run" / "round=0"), *rows]


def shape_rows(shards: Path) -> list[tuple[str, str, str]]:
    """What a trajectory was, over the run's first leases."""
    names = sorted(path.name for path in (shards / "trajectories").iterdir())[:SAMPLED]
    leaves, nodes = ([str(shards / table / name) for name in names] for table in ("trajectories", "nodes"))
    shares = "avg((verdict = 'pass')::INT), count(DISTINCT (problem_id, response)) / count(*), count(*)"
    query = f"SELECT avg(n_tokens), avg(n_new_tokens), {shares} FROM read_parquet($files)"
    tokens, new, passed, texts, n = duckdb.execute(query, {"files": leaves}).fetchall()[0]
    query = "SELECT count(*) FROM read_parquet($files) WHERE depth > 0"
    segments = duckdb.execute(query, {"files": nodes}).fetchall()[0][0] / n
    return [
        ("new segments; tokens, of them new, a trajectory", f"{segments:.2f}; {tokens:.1f}, {new:.1f}", ""),
        ("trajectories that pass; different texts among all", f"{passed:.0%}; {texts:.0%}", ""),
    ]


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
    parser.add_argument("--branching", type=int, nargs="+", default=[8, 8, 8], help="of a problem's tree")
    parser.add_argument("--independent", type=int, help="trajectories a problem without shared prefixes, instead")
    parser.add_argument("--steps", type=int, nargs=2, default=[3, 4], help="a problem takes from so many to so many")
    parser.add_argument("--lease", type=int, default=8, help="problems a lease, and so a set of files")
    parser.add_argument("--lease-trajectories", type=int, help="trajectories a lease, instead of problems")
    parser.add_argument("--coordinator-lease", type=int, default=64, help="the same, for the coordinator alone")
    parser.add_argument("--workers", type=int, default=2, help="rollout actors")
    parser.add_argument("--parts", nargs="+", default=["coordinator", "pipeline"])
    args = parser.parse_args()
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        problems = folder / "problems.jsonl"
        write_problems(problems, args.problems, tuple(args.steps))
        if "coordinator" in args.parts:
            script = str(Path(__file__).with_name("scale_coordinator.py"))
            command = [sys.executable, "-P", script, str(problems), "--lease", str(args.coordinator_lease)]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ}, check=False)
            if done.returncode:
                raise SystemExit(done.stderr)
            rows += coordinator_rows(json.loads(done.stdout))
        if "pipeline" in args.parts:
            rows += pipeline_rows(*drive(folder, problems, args), folder, args)
    shape = f"{args.independent} independent samples" if args.independent else f"trees of {args.branching}"
    leases = f"{args.lease_trajectories:,} trajectories" if args.lease_trajectories else f"{args.lease} problems"
    print(f"{args.problems:,} problems of {args.steps} steps, {shape}, leases of {leases}, {args.workers} actors")
    width = max(len(row[0]) for row in rows)
    for what, value, target in rows:
        print(f"  {what:<{width}}  {value:>24}  {target}")


if __name__ == "__main__":
    main()
