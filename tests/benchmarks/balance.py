"""GPU idle share with slow verification, `ratio: auto` beside fixed ratios: `python -P tests/benchmarks/balance.py`.

    fixed      slots tried one after the other: throughput and engine idle share in steady state
    auto       the same work, slots found at run time; throughput over the best fixed one's
    changing   checks that are quick at first and slow later: auto's throughput over that of as many slots as fit

The engine is SYNTHETIC: 32 sequences at a set pace. Searches, sandboxes, checks and storage are real. A check waits in
its sandbox for 50 ms to 5 s with a heavy tail (bounded Pareto of exponent 1: 233 ms on average, 1% above 2.5 s), so
that two cores serve many slots. `average` is rate × time: the slots that would do without any variation.
Targets: below 5% idle wherever the slots suffice on average (10% to spare), auto at 90% of the best or more.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from typing import Any

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.report.balance import story
from berry.pipeline.runtime.display import View
from berry.pipeline.runtime.driver.outcome import Launch, RunOutcome
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.storage.run.directory import open_run

SLOW = {"cpu_ms": 1, "wait_ms": 50, "wait_max_ms": 5000}
QUICK = {"cpu_ms": 1, "wait_ms": 5}
MOST = 64
IDLE_TARGET = 0.05
AUTO_TARGET = 0.9
SUFFICE = 1.1  # over rate × time


class Quiet:
    def phase(self, text: str) -> None: ...

    def update(self, view: View) -> None: ...

    def note(self, text: str) -> None:
        if text.startswith("sandbox slots"):
            print(f"    {text}", flush=True)


def config(problems: list[dict[str, Any]], ratio: float | str, pace: float) -> RunConfig:
    raw = {
        "name": "balance",
        "seed": 1,
        "problems": problems,
        "engine": {"type": "synthetic", "tokens_per_s": pace, "max_num_seqs": 32},
        "rollout": {"policy": {"type": "best_of_n", "n": 4}},
        "cluster": {
            "name": "one",
            "nodes": {"host": {"cores": 1 + MOST / 8}},
            "ratio": ratio,
            "balance": {"tick_s": 1, "shrink_ticks": 6},
            "roles": {"rollout": {"cpus": 1}, "sandbox": {"cpus": 0.25, "slots": 2, "min": 2}},
        },
    }
    return validate(raw, RunConfig, where="benchmark")


def measured(made: RunConfig, seconds: float | None) -> tuple[RunOutcome, float, list[dict[str, Any]]]:
    """The outcome, its wall time in s, and the balance's rows."""
    with tempfile.TemporaryDirectory() as folder:
        place, began = f"{folder}/run", time.monotonic()
        outcome = run(made, Launch(run_dir=place, local=True, measure_s=seconds), Quiet())
        wall_s = time.monotonic() - began
        found = story(open_run(place))
    return outcome, wall_s, list(found.rows) if found else []


def steady(name: str, ratio: float | str, seconds: float, pace: float) -> dict[str, Any]:
    made = config([{"type": "synthetic", "count": 4000, "seed": 3, "check": SLOW}], ratio, pace)
    outcome, _, rows = measured(made, seconds)
    figures = outcome.figures["steady"]
    row = {
        "what": name,
        "slots": figures["slots"],
        "trajectories_per_s": round(figures["trajectories_per_s"], 1),
        "engine_idle_share": round(figures["engine_idle_share"], 4),
        "check_wait_ms": round(figures["check_wait_ms"] or 0.0, 1),
        "check_mean_ms": round(figures["check_mean_ms"], 1),
        "slots_busy": round(figures["slots_busy"], 3),
        "in_flight_most": figures["most_under_way"],
        "changes": sum(r["action"] != "keep" for r in rows),
    }
    print(json.dumps(row), flush=True)
    return row


def changing(name: str, ratio: float | str, problems: int, pace: float) -> dict[str, Any]:
    """Half of the problems, then those whose checks are slow."""
    first = {"type": "synthetic", "count": problems // 2, "seed": 5, "check": QUICK}
    then = {"type": "synthetic", "count": problems - problems // 2, "seed": 6, "check": SLOW}
    outcome, wall_s, rows = measured(config([first, then], ratio, pace), None)
    row = {
        "what": name,
        "wall_s": round(wall_s, 1),
        "trajectories_per_s": round(outcome.totals.trajectories / outcome.figures["wall_s"], 1),
        "changes": [[r["before"], r["after"], r["reason"]] for r in rows if r["action"] != "keep"],
        "mean_slots": round(sum(r["open_slots"] for r in rows) / len(rows), 1) if rows else None,
    }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", default="8,14,16,64", help="fixed numbers of slots to try, all even")
    parser.add_argument("--seconds", type=float, default=8, help="of steady state for each")
    parser.add_argument("--pace", type=float, default=150, help="tokens/s of a sequence")
    parser.add_argument("--problems", type=int, default=560, help="of the changing load")
    args = parser.parse_args()
    fixed = [steady(f"fixed {n}", float(n), args.seconds, args.pace) for n in map(int, args.slots.split(","))]
    best = max(fixed, key=lambda row: row["trajectories_per_s"])
    average = best["trajectories_per_s"] * best["check_mean_ms"] / 1e3
    enough = [row for row in fixed if row["slots"] >= SUFFICE * average]
    auto = steady("auto", "auto", 2 * args.seconds, args.pace)
    fixed_change = changing(f"changing, fixed {MOST}", float(MOST), args.problems, args.pace)
    auto_change = changing("changing, auto", "auto", args.problems, args.pace)
    summary = {
        "average": round(average, 1),
        "worst_idle_where_enough": max((row["engine_idle_share"] for row in enough), default=None),
        "best_fixed": best["what"],
        "auto_over_best": round(auto["trajectories_per_s"] / best["trajectories_per_s"], 3),
        "auto_idle": auto["engine_idle_share"],
        "changing_auto_over_fixed": round(auto_change["trajectories_per_s"] / fixed_change["trajectories_per_s"], 3),
    }
    print(json.dumps(summary), flush=True)
    missed = [
        *(f"{row['what']}: idle" for row in enough if row["engine_idle_share"] >= IDLE_TARGET),
        *(f"{key}" for key in ("auto_over_best", "changing_auto_over_fixed") if summary[key] < AUTO_TARGET),
    ]
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
