"""Speed of tool sessions, and engines that wait for tools: `python -P tests/benchmarks/tool_speed.py [sessions|idle]`.

    sessions   calls/s in live sessions; ms of a branch after the eighth call, and of those eight calls made again
    idle       engine idle share in steady state with slow tool calls, and the plan's tokens/s beside the measured

Sessions are real ones, with numpy and sympy loaded; their calls are short sums. `idle` has a SYNTHETIC engine of
32 sequences at a set pace, and real searches, sessions, checks and storage. Its calls sleep in their sandbox for a
lognormal time: 50 ms on average, 1% above 500 ms. So two cores serve many slots. `average` is rate x time: the slots
that would do without any variation. The plan is calibrated from the first setting, and foretells the others.
Targets: 250 calls/s a core; a branch within 5 ms of its eight calls; below 5% idle wherever the slots suffice on
average with 10% to spare; the plan within 15%.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from typing import Any

from berry.pipeline.config.plan import Calibration
from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.planning import runs, sweeps
from berry.pipeline.planning.runs import Measured
from berry.pipeline.runtime.display import View
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.storage.run.directory import open_run
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.sessions import SessionCall, SessionKeeper

SNIPPET = "x = globals().get('x', 0) + 1\nprint(x)"
CALLS, BRANCHES = 8, 40
CORES = 2
CALLS_TARGET, BRANCH_TARGET_MS, IDLE_TARGET, PLAN_TARGET = 250.0, 5.0, 0.05, 0.15
SUFFICE = 1.1  # over rate x time
Past = tuple[tuple[str, str], ...]


class Quiet:
    def phase(self, text: str) -> None: ...

    def update(self, view: View) -> None: ...

    def note(self, text: str) -> None: ...


async def walk(keeper: SessionKeeper, tree: str, calls: int, past: Past = ()) -> Past:
    """Makes so many calls on one path."""
    for _ in range(calls):
        reply = await keeper.call(SessionCall(tree, past, SNIPPET))
        assert not reply.failed, reply
        past = (*past, (SNIPPET, reply.text))
    return past


async def sessions() -> dict[str, Any]:
    keeper = SessionKeeper(PoolConfig(calibration=1.0), slots=CORES, sessions=64)
    await keeper.start()
    await asyncio.gather(*(walk(keeper, f"warm{i}", CALLS) for i in range(8)))
    began = time.monotonic()
    await asyncio.gather(*(walk(keeper, f"live{i}", 50) for i in range(8)))
    live = 8 * 50 / (time.monotonic() - began)
    past = await walk(keeper, "branch", CALLS)
    await keeper.call(SessionCall("branch", past, "x"))  # takes the session of the path
    branch_ms, again_ms = [], []
    for number in range(BRANCHES):
        began = time.monotonic()
        reply = await keeper.call(SessionCall("branch", past, f"x + {number}"))
        branch_ms.append((time.monotonic() - began) * 1e3)
        assert reply.replayed == CALLS, reply
        first = await walk(keeper, f"again{number}", 1)  # the session is open: what follows are calls alone
        began = time.monotonic()
        await walk(keeper, f"again{number}", CALLS, first)
        again_ms.append((time.monotonic() - began) * 1e3)
        await asyncio.sleep(0.02)
    await keeper.close()
    row = {
        "calls_per_s_a_core": round(live / CORES),
        "branch_ms": round(statistics.median(branch_ms), 2),
        "eight_calls_ms": round(statistics.median(again_ms), 2),
    }
    print(json.dumps(row), flush=True)
    return row


def config(slots: int, pace: float, mean_ms: float) -> RunConfig:
    tail = {"call_mean_ms": mean_ms, "call_p99_ms": 10 * mean_ms}
    raw = {
        "name": "tools",
        "seed": 1,
        "problems": [{"type": "synthetic", "count": 4000, "seed": 3, "check": {"cpu_ms": 1, "wait_ms": 5}}],
        "engine": {"type": "synthetic", "tokens_per_s": pace, "max_num_seqs": 32, "call_share": 0.8, **tail},
        "rollout": {
            "policy": {"type": "best_of_n", "n": 2},
            "sampling": {"max_tokens": 1500},
            "tools": [{"type": "python", "sessions": 256}],
        },
        "cluster": {
            "name": "one",
            "nodes": {"host": {"cores": 1 + slots / 8}},
            "ratio": float(slots),
            "roles": {"rollout": {"cpus": 1}, "sandbox": {"cpus": 0.125, "slots": 1, "min": 1}},
        },
    }
    return validate(raw, RunConfig, where="benchmark")


def measured(made: RunConfig, seconds: float) -> tuple[dict[str, Any], Measured]:
    with tempfile.TemporaryDirectory() as folder:
        outcome = run(made, Launch(run_dir=f"{folder}/run", local=True, measure_s=seconds), Quiet())
        return outcome.figures["steady"], runs.measure(open_run(f"{folder}/run"))


def idle(slots: list[int], seconds: float, pace: float, mean_ms: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    seen: Measured | None = None
    calibration = Calibration()
    for n in slots:
        made = config(n, pace, mean_ms)
        figures, found = measured(made, seconds)
        if seen is None:
            seen = found
            workload = runs.measured_workload(runs.workload_of(made, {"measured": seen.problems})[0], seen)
            calibration = runs.calibrate(workload, made.cluster, seen, calibration, location="the first setting")
        told = sweeps.planned(made, seen, calibration, None)
        average = figures["calls_per_s"] * figures["call_mean_ms"] / 1e3
        rows.append(
            {
                "slots": figures["call_slots"],
                "average": round(average, 2),
                "trajectories_per_s": round(figures["trajectories_per_s"], 2),
                "engine_idle_share": round(figures["engine_idle_share"], 4),
                "calls": round(figures["calls"], 2),
                "call_mean_ms": round(figures["call_mean_ms"], 1),
                "call_p99_ms": round(figures["call_p99_ms"], 1),
                "call_wait_ms": round(figures["call_wait_ms"], 1),
                "call_rebuild_ms": round(figures["call_rebuild_ms"], 1),
                "call_slots_busy": round(figures["call_slots_busy"], 3),
                "tokens_per_s": round(figures["tokens_per_s"]),
                "planned": round(told.tokens_per_s),
                "planned_idle": round(told.gpu_idle_share, 4),
                "plan_error": round(told.tokens_per_s / figures["tokens_per_s"] - 1, 3),
                "cpu_ms": round(figures["cpu_ms"], 1),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["sessions", "idle"], help="sessions, idle")
    parser.add_argument("--slots", default="32,1,2,3,4", help="sandbox slots to try; the first calibrates the plan")
    parser.add_argument("--seconds", type=float, default=10, help="of steady state for each")
    parser.add_argument("--pace", type=float, default=150, help="tokens/s of a sequence")
    parser.add_argument("--mean-ms", type=float, default=50, help="mean time of a call")
    args = parser.parse_args()
    missed: list[str] = []
    if "sessions" in args.what:
        row = asyncio.run(sessions())
        missed += ["calls/s"] if row["calls_per_s_a_core"] < CALLS_TARGET else []
        missed += ["branch"] if row["branch_ms"] - row["eight_calls_ms"] > BRANCH_TARGET_MS else []
    if "idle" in args.what:
        for row in idle([int(n) for n in args.slots.split(",")], args.seconds, args.pace, args.mean_ms):
            enough = row["slots"] >= SUFFICE * row["average"]
            missed += [f"{row['slots']} slots: idle"] if enough and row["engine_idle_share"] >= IDLE_TARGET else []
            missed += [f"{row['slots']} slots: plan"] if abs(row["plan_error"]) > PLAN_TARGET else []
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
