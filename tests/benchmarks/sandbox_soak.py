"""Runs a long stream of jobs through a pool, a tenth of them hostile, most of the catalogue of attacks among them:
`python tests/benchmarks/sandbox_soak.py --jobs 100000`.

Told every tenth of the way, and the last compared with the first ones: jobs a second, this process's descriptors,
memory and Python objects, the pool's processes and memory, files in its directory. Memory that the C library keeps
for itself after a large value is given back before it is measured. Ends with status 1 when something leaked, an
honest job failed, or a hostile one was answered `ok` with the honest answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from berry.sandboxes.attacks import host, protocol
from berry.sandboxes.attacks import pool as locks
from berry.sandboxes.base import MIB, Call, Job, JobOutcome, Limits
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.pool import SandboxPool

SETTLE_S = 2.0
"""Before descriptors are counted slots get their next children ready, each with four, and this process takes them."""
QUICK = Limits(cpu_s=0.1, wall_s=0.3, memory_bytes=64 * MIB, output_bytes=MIB // 8, disk_bytes=MIB)
HONEST = (
    "def f(x):\n    return x + 1",
    "import math\ndef f(x):\n    return math.floor(x) + 1",
    "def f(x):\n    values = sorted(range(200), key=lambda v: -v)\n    return values[-1] + x + 1",
    "def f(x):\n    open('note', 'w').write(str(x))\n    return int(open('note').read()) + 1",
)
HOSTILE = (
    "import os\ndef f(x): os._exit(0)",
    "def f(x):\n    while True: pass",
    "import time\ndef f(x): time.sleep(60)",
    "def f(x): return bytearray(1 << 34)",
    "def f(x):\n    while True: print('x' * 10000)",
    "import os\ndef f(x): os.fork()",
    "import os\ndef f(x): os.kill(os.getppid(), 9)",
    "import ctypes\ndef f(x): ctypes.CDLL(None).ptrace(16, 1, 0, 0)",
    "import os\nfor i in range(60): os.mkdir('d'); os.chdir('d'); os.chmod('.', 0o300)\ndef f(x): return 0",
    "def f(x):\n    for i in range(3000): open(str(i), 'w').write('x' * 4096)",
    "import threading as t, time\ndef f(x):\n    for _ in range(99): t.Thread(target=time.sleep, args=(60,)).start()",
    "import os\ndef f(x):\n    os.write(3, os.urandom(2000)); os._exit(0)",
    "import ctypes\ndef f(x): ctypes.string_at(0)",
    "def f(x): return [[]] * 10 ** 7",
    *(f"import os\ndef f(x):\n    try: {line}\n    except OSError: pass" for line in locks.LOCKS.values()),
    *(f"{protocol.FRAME}\ndef f(x):\n    " + flood.replace("\n", "\n    ") for flood in protocol.FLOODS.values()),
    *(protocol.FRAME + protocol.MAKE.replace("VALUE", value) for value in protocol.SLOW.values()),
    *("def f(x):\n    " + attack.replace("\n", "\n    ") for attack in host.FORBIDDEN.values()),
    "def f(x):\n    " + locks.MARKS.strip().replace("\n", "\n    "),
    "def f(x):\n    " + host.SOCKET_MEMORY.strip().replace("\n", "\n    "),
)


@dataclass(frozen=True)
class State:
    """What could leak, at one moment."""

    descriptors: int
    host_mib: float
    host_blocks: int
    processes: int
    pool_mib: float
    files: int

    @classmethod
    def now(cls, directory: str) -> State:
        gc.collect()
        with contextlib.suppress(AttributeError):  # no such function in other C libraries
            ctypes.CDLL(None).malloc_trim(0)
        blocks = sys.getallocatedblocks()
        me = psutil.Process()
        children = []
        pool = 0.0
        for child in me.children(recursive=True):
            try:
                if child.status() != psutil.STATUS_ZOMBIE:
                    children.append(child)
                    pool += child.memory_info().rss / MIB
            except psutil.NoSuchProcess:
                continue
        files = sum(len(d) + len(f) for _, d, f in os.walk(directory))
        return cls(len(os.listdir("/proc/self/fd")), me.memory_info().rss / MIB, blocks, len(children), pool, files)


def _cpu_s(pool: SandboxPool) -> float:
    """CPU seconds of this process and of all children so far: what a job costs whatever else the machine
    does."""
    return time.process_time() + pool.metrics()["cpu_s"]


def _grew(counts: Sequence[float], slack: float, factor: float = 1.0) -> bool:
    """Whether the last three counts are all above the first three: single ones vary with the children that wait."""
    return min(counts[-3:]) > max(counts[:3]) * factor + slack


async def soak(jobs: int, slots: int, seed: int) -> list[str]:
    """Runs the stream; returns what went wrong."""
    numbers = random.Random(seed)
    wrong: list[str] = []
    rates: list[float] = []
    costs: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        config = PoolConfig(slots=slots, directory=directory, calibration=1.0, recycle_after=2000)
        async with SandboxPool(config) as pool:

            async def one(number: int) -> None:
                hostile = numbers.random() < 0.1
                source = numbers.choice(HOSTILE if hostile else HONEST)
                limits = QUICK if hostile else Limits()
                job = Job(source, entry_point="f", calls=(Call((number,)),), limits=limits, key=str(number % 7))
                result = await pool.run(job)
                right = result.outcome is JobOutcome.OK and result.cases[0].value == number + 1
                if right == hostile or not (result.outcome is JobOutcome.OK or result.outcome.blames_program):
                    wrong.append(f"{source!r} ended as {result.outcome}: {result.error}")

            async def stream(first: int, n: int) -> None:
                waiting = iter(range(first, first + n))

                async def work() -> None:
                    for number in waiting:
                        await one(number)

                await asyncio.gather(*(work() for _ in range(2 * slots)))

            part = max(1, jobs // 10)
            states: list[State] = []
            await stream(0, min(200, jobs))
            for tenth in range(10):
                start, cpu = time.monotonic(), _cpu_s(pool)
                await stream(tenth * part, part)
                rates.append(part / (time.monotonic() - start))
                costs.append(1e3 * (_cpu_s(pool) - cpu) / part)
                await asyncio.sleep(SETTLE_S)
                states.append(State.now(directory))
                print(f"{(tenth + 1) * part:7d} jobs  {rates[-1]:7.1f}/s  {costs[-1]:.2f} ms CPU a job  "
                      f"{states[-1]}", flush=True)  # fmt: skip
            before, after = states[0], states[-1]
            descriptors, processes = [s.descriptors for s in states], [s.processes for s in states]
            pool_mib = [s.pool_mib for s in states]
            metrics = pool.metrics()
        if os.listdir(directory):
            wrong.append(f"left on disk: {os.listdir(directory)}")
    print(metrics)
    left = psutil.Process().children(recursive=True)
    if left:
        wrong.append(f"left running: {left}")
    if _grew(descriptors, 8):
        wrong.append(f"descriptors grew: {descriptors}")
    if _grew(processes, 4):
        wrong.append(f"processes grew: {processes}")
    if after.host_mib > before.host_mib * 1.2 + 5 or _grew(pool_mib, 20, 1.3):
        wrong.append(f"memory grew from {before} to {after}")
    if after.host_blocks > before.host_blocks * 1.02 + 2000:
        wrong.append(f"Python's blocks of memory grew from {before.host_blocks} to {after.host_blocks}")
    if after.files > before.files + 4:
        wrong.append(f"files grew from {before.files} to {after.files}")
    print(f"throughput, last tenth over first: {rates[-1] / rates[0]:.3f}")
    print(f"CPU a job (host's and children's), last tenth over first: {costs[-1] / costs[0]:.3f}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    wrong = asyncio.run(soak(given.jobs, given.slots, given.seed))
    for text in wrong[:20]:
        print("WRONG:", text)
    print("sound" if not wrong else f"{len(wrong)} things went wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
