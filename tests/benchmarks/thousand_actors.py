"""What a thousand rollout actors cost one driver: `python -P tests/benchmarks/thousand_actors.py`.

Everything of the driver is a run's own: coordinator, handles of actors, Ray's calls and their pickling, polling, stall
watch, balance (`ratio: auto`), metrics through Ray, live status, manifests. Stood in for: the actors themselves. A
thousand processes do not fit one machine, so that a few Ray actors answer for them, each for many; leases are slept
through, and reports, snapshots and sandbox figures are made up. So a thousand connections, their heartbeats and actors
that come and go are not in the figures; neither is the store.

In the driver it is the time from a report that has come to the call with the next lease. The turnaround is what
the place of a lease at the actor stands empty: from the end of one to the begin of the next, by the clock of its
process, whose own work for hundreds of other actors is in it. How long the driver's thread was ready and had no core is
told beside: on a busy machine that is the tail. The oldest garbage is the driver's own, and stops everything. JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import random
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import ray

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.balance import SlotBounds
from berry.pipeline.engines.base import Counters
from berry.pipeline.records import TokenLedger
from berry.pipeline.runtime.actors.process import Home
from berry.pipeline.runtime.actors.rollout_handle import RayWorker
from berry.pipeline.runtime.cluster.sandbox_pool import SandboxActors
from berry.pipeline.runtime.display import View
from berry.pipeline.runtime.driver import run as driver
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.startup import Join, Started
from berry.pipeline.stages.leases.lease import Gauges, Lease, LeaseReport, Snapshot
from berry.pipeline.stages.rollout.loop_delay import LoopDelay

SEQS = 256
TOKENS_PER_S = 9_000.0
LEASES_AT_ONCE = 2
DELAY = LoopDelay()
DROPS = {"wrong": 9_000, "duplicate": 400, "over_quota": 5_000, "truncated": 100}
SPENT = TokenLedger(prompt=1_600, generated=16_000_000, kept=900_000, extra={"segments": 16_000, "pruned.wrong": 9_000})


class Garbage:
    """CPU seconds of each collection of the oldest generation."""

    def __init__(self) -> None:
        self.cpu_s: list[float] = []
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        elif info["generation"] == 2:
            self.cpu_s.append(time.thread_time() - self._began)


def no_core_s() -> float:
    """Seconds in which this process's first thread was ready to run and had no core, since it began."""
    return int(Path(f"/proc/self/task/{os.getpid()}/schedstat").read_text().split()[1]) / 1e9


class Host:
    """Answers for many actors: `number` says for which."""

    def __init__(self, lease_s: float, seed: int) -> None:
        self._lease_s = lease_s
        self._chance = random.Random(seed)
        self._began = time.monotonic()
        self._free: dict[int, list[float]] = {}  # of each actor the times at which a place became empty
        self._empty_s: list[float] = []
        self._done = 0

    async def start(self, number: int, *_: object) -> dict[str, Any]:
        return {"home": (f"node-{number // 8}", number), "host": f"node-{number // 8}"}

    async def use(self, number: int, *_: object) -> None:
        del number

    async def run_lease(self, number: int, lease: Lease) -> LeaseReport:
        began, free = time.monotonic(), self._free.setdefault(number, [])
        if free:
            self._empty_s.append(began - free.pop(0))
        lease_s = self._lease_s * self._chance.uniform(0.5, 1.5)
        await asyncio.sleep(lease_s)
        self._done += 1
        problems = len(lease.problems)
        free.append(time.monotonic())
        return LeaseReport(
            lease.number, f"rollout-{number}", problems, problems - 1, 16_000, 1_500, DROPS, SPENT, lease_s
        )

    async def snapshot(self, number: int) -> Snapshot:
        at = time.monotonic() - self._began
        counters = Counters(
            prompt_tokens=int(at * 900),
            cached_tokens=int(at * 600),
            generated_tokens=int(at * TOKENS_PER_S),
            running=SEQS - 3,
            running_integral=at * (SEQS - 3),
            busy_s=at,
            settled_s=at,
        )
        gauges = Gauges(searching=16, verifying=2, verified=int(at * 9), passed=int(at * 4), leaves=int(at * 9))
        return Snapshot(f"rollout-{number}", gauges, counters, SEQS, cpu_s=at, own_cpu_s=at)

    async def load_weights(self, number: int) -> list[str]:
        del number
        return []

    async def stop(self, number: int) -> None:
        del number

    # ---- sandboxes --------------------------------------------------------------------------------------------------

    async def start_sandbox(self, number: int) -> str:
        return f"node-{number // 8}"

    async def home(self, number: int) -> Home:
        return f"node-{number // 8}", number

    async def metrics(self, number: int) -> dict[str, float]:
        at = time.monotonic() - self._began
        jobs = {"pool_jobs": at * 80, "pool_queue_s": at * 0.2, "outcome_pass": at * 40, "outcome_fail": at * 40}
        now = {"pool_slots": 8.0, "pool_running": 6.0, "pool_waiting": 0.0, "in_service": 6.0, "symbolic_free": 1.0}
        return {**jobs, **now, "cpu_s": at * 6}

    # ---- what was seen ----------------------------------------------------------------------------------------------

    async def forget(self) -> None:
        self._empty_s.clear()
        self._done = 0

    async def seen(self) -> tuple[list[float], int]:
        return self._empty_s, self._done


class One:
    """One of the actors that a host answers for, as its handle."""

    def __init__(self, host: Any, number: int, names: dict[str, str]) -> None:
        self._host, self._number, self._names = host, number, names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # asked by pickle before there is a host
            raise AttributeError(name)
        method = getattr(self._host, self._names.get(name, name))

        class Call:
            remote = staticmethod(lambda *given: method.remote(self._number, *given))

        return Call


class Timed(RayWorker):
    """Notes how long a place stands empty by the driver's clock: from a report that has come to the next call."""

    passed_s: ClassVar[list[float]] = []
    ended: ClassVar[dict[str, list[float]]] = {}

    async def run_lease(self, lease: Lease) -> LeaseReport:
        free = self.ended.setdefault(self.worker_id, [])
        if free:
            self.passed_s.append(time.monotonic() - free.pop(0))
        report = await super().run_lease(lease)
        free.append(time.monotonic())
        return report


class Slots:
    """Sandbox slots on stand-ins of sandbox actors."""

    def __init__(self, sandboxes: SandboxActors, most: int) -> None:
        self._sandboxes, self._most = sandboxes, most

    def bounds(self) -> SlotBounds:
        return SlotBounds(least=8, most=self._most, unit=8)

    def size(self) -> int:
        return 8 * self._sandboxes.asked_for

    async def resize(self, slots: int) -> None:
        del slots  # what a decision costs is measured, what it does is not


class Silent:
    """Shows nothing."""

    def phase(self, text: str) -> None: ...
    def note(self, text: str) -> None: ...
    def update(self, view: View) -> None: ...


def starter(args: argparse.Namespace, hosts: list[Any]) -> Callable[..., Any]:
    async def start(*_: object) -> Started:
        made = iter(range(args.slots))

        def request() -> One:
            number = next(made)
            return One(hosts[number % len(hosts)], number, {"start": "start_sandbox"})

        async def changed() -> None: ...

        sandboxes = SandboxActors(request, 8, changed, stall_s=600, note=lambda _: None)
        await asyncio.gather(*sandboxes.pool.ask_for(args.slots // 8))
        workers = [
            Timed(One(hosts[n % len(hosts)], n, {}), f"rollout-{n}", LEASES_AT_ONCE, sandboxes)
            for n in range(args.actors)
        ]
        await asyncio.gather(*(worker.start() for worker in workers))

        async def watch(join: Join) -> None:
            del join
            await asyncio.gather(sandboxes.pool.watch(), DELAY.watch(wanted=lambda: True))

        async def stop() -> None:
            sandboxes.abandon()

        return Started([*workers], Slots(sandboxes, args.slots), stop, watch=watch)

    return start


def configuration(args: argparse.Namespace) -> RunConfig:
    leases = 3 * args.actors * LEASES_AT_ONCE * (1 + math.ceil((args.warm_s + args.seconds) / args.lease_s))
    return validate(
        {
            "name": "thousand",
            "problems": [{"type": "synthetic", "count": leases * args.problems}],
            "engine": {"type": "synthetic"},
            "storage": {"lease_problems": args.problems},
            "report": False,
            "cluster": "local",
        },
        RunConfig,
        where="benchmark",
    )


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 has the stand-ins wait for everything else
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    hosts: list[Any] = [
        ray.remote(Host).options(num_cpus=0, max_concurrency=100_000).remote(args.lease_s, seed)
        for seed in range(args.processes)
    ]
    figures: dict[str, Any] = {}
    garbage = Garbage()
    gc.callbacks.append(garbage)

    def watch() -> None:
        time.sleep(args.warm_s)
        ray.get([host.forget.remote() for host in hosts])
        Timed.passed_s.clear()
        garbage.cpu_s.clear()
        began, spent, waited = time.perf_counter(), time.process_time(), no_core_s()
        time.sleep(args.seconds)
        wall, cpu, no_core = time.perf_counter() - began, time.process_time() - spent, no_core_s() - waited
        seen = ray.get([host.seen.remote() for host in hosts])
        empty = sorted(gap for gaps, _ in seen for gap in gaps)
        figures.update(
            {
                "actors": args.actors,
                "sandbox slots": args.slots,
                "leases/s": round(sum(done for _, done in seen) / wall, 1),
                "driver, share of a core": round(cpu / wall, 3),
                "driver ready without a core, share of the time": round(no_core / wall, 3),
                "oldest garbage collected, times": len(garbage.cpu_s),
                "oldest garbage, longest, CPU ms": round(1e3 * max(garbage.cpu_s, default=0.0), 1),
                "in the driver, median, ms": round(1e3 * statistics.median(Timed.passed_s), 2),
                "in the driver, 99th percentile, ms": round(1e3 * sorted(Timed.passed_s)[-len(empty) // 100], 1),
                "its event loop late, 99th percentile, ms": round(1e3 * (DELAY.quantile(0.99) or 0.0), 1),
                "turnaround, median, ms": round(1e3 * statistics.median(empty), 1),
                "turnaround, 99th percentile, ms": round(1e3 * empty[int(0.99 * len(empty))], 1),
                "turnaround, longest, ms": round(1e3 * empty[-1], 1),
                "load of the machine": round(os.getloadavg()[0], 1),
            }
        )
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()
    with patch.object(driver, "start", starter(args, hosts)):
        driver.run(configuration(args), Launch(str(folder / "run"), address="stood in for"), Silent())
    ray.shutdown()
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, default=1_000)
    parser.add_argument("--slots", type=int, default=1_000, help="sandbox slots, eight an actor")
    parser.add_argument("--processes", type=int, default=2, help="Ray actors that answer for all of them")
    parser.add_argument("--lease-s", type=float, default=60.0, help="seconds a lease takes, 0.5 to 1.5 times that")
    parser.add_argument("--problems", type=int, default=8, help="problems a lease")
    parser.add_argument("--warm-s", type=float, default=75.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(parser.parse_args(), Path(name)), indent=1))
