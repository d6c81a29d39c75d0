"""The pool when something dies: slots, templates, waiting callers, the pool itself and its host."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from berry.sandboxes.base import Call, Job, JobOutcome, Limits, SandboxError
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.pool import SandboxPool
from tests.sandboxes.conftest import launcher_of

ADD = Job("def f(x):\n    return x + 1", entry_point="f", calls=(Call((1,)),))
SLEEP = Job("import time; time.sleep(30)", limits=Limits(wall_s=30))
SMALL = {"slots": 1, "calibration": 1.0}


STRANGERS: set[psutil.Process] = set()


@pytest.fixture(autouse=True)
def strangers() -> None:
    """What this process started before the test, for tests of other files, is not the pool's: it must not be killed."""
    STRANGERS.clear()
    STRANGERS.update(psutil.Process().children(recursive=True))


def _processes(*, below: bool = True) -> list[psutil.Process]:
    """Those of the test's pool; `below`: with what its templates have started."""
    return [p for p in psutil.Process().children(recursive=below) if p not in STRANGERS]


def _slots() -> list[int]:
    """The processes whose children have no children: slots, between templates and the children of jobs."""
    parents: dict[int, int] = {}
    for process in _processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            parents[process.pid] = process.ppid()
    above = set(parents.values())
    return [pid for pid in above & set(parents) if not any(c in above for c, p in parents.items() if p == pid)]


def _cpu_s() -> float:
    """CPU seconds of all processes of the pool that live."""
    total = 0.0
    for process in _processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.cpu_times().user
    return total


async def test_a_slot_killed_under_a_job_is_replaced_and_the_job_tried_again():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        source = "import time\ndef f(x):\n    time.sleep(0.4)\n    return x + 1"
        task = asyncio.create_task(pool.run(Job(source, entry_point="f", calls=(Call((1,)),))))
        await asyncio.sleep(0.2)
        for slot in _slots():
            os.kill(slot, signal.SIGKILL)
        result = await task
        assert result.outcome is JobOutcome.OK, result
        assert result.cases[0].value == 2
        assert pool.metrics()["retries"] >= 1


async def test_waiting_children_that_die_are_nobodys_fault():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        waiting: list[psutil.Process] = []
        for _ in range(100):
            await asyncio.sleep(0.05)
            slots = _slots()
            with contextlib.suppress(psutil.NoSuchProcess):
                waiting = [p for p in _processes() if p.ppid() in slots]
            if len(waiting) >= 2:
                break
        for process in waiting:
            process.kill()
        await asyncio.sleep(0.05)
        result = await pool.run(ADD)
        assert result.outcome is JobOutcome.OK, result
        assert pool.metrics()["retries"] == 1


async def test_a_child_that_goes_on_after_its_final_frame_is_killed_though_no_job_follows():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        source = "import os\ndef spin(status):\n    while True: pass\nos._exit = spin\ndef f(x): return x"
        assert (await pool.run(Job(source, entry_point="f", calls=(Call((1,)),)))).outcome is JobOutcome.OK
        await asyncio.sleep(0.3)
        before = _cpu_s()
        await asyncio.sleep(0.3)
        assert _cpu_s() - before < 0.1


async def test_a_judge_whose_candidate_never_loaded_leaves_its_slot_in_step():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        broken = Job("def f(x) return x", entry_point="f")
        for _ in range(3):
            assert not (await pool.judge(broken, "assert f(1) == 2")).passed
            assert (await pool.judge(ADD, "assert f(1) == 2")).passed
        assert pool.metrics()["slots_failed"] == 0


async def test_jobs_that_find_no_file_descriptors_are_faults_at_most_and_the_pool_goes_on(caplog):
    async with SandboxPool(PoolConfig(slots=2, calibration=1.0)) as pool:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, before[1]))
        taken: list[int] = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        try:
            starved = await asyncio.gather(*(pool.run(ADD) for _ in range(12)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            for descriptor in taken:
                os.close(descriptor)
        assert {r.outcome for r in starved} <= {JobOutcome.FAULT, JobOutcome.OK}, starved
        assert pool.metrics()["slots_failed"] >= 1, "none was wanting"
        assert (await pool.run(ADD)).outcome is JobOutcome.OK
    assert not caplog.records, "no error of a callback reaches asyncio"


async def test_too_few_files_for_the_slots_are_refused(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 64))
    with pytest.raises(SandboxError, match=r"may open 64 files here \(ulimit -Hn\), and 8 slots need \d+: raise"):
        await SandboxPool(PoolConfig(slots=8, calibration=1.0)).start()


async def test_a_template_killed_is_started_again():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        assert (await pool.run(ADD)).outcome is JobOutcome.OK
        for process in _processes(below=False):
            process.kill()
            process.wait()
        await asyncio.sleep(0.05)
        result = await pool.run(ADD)
        assert result.outcome is JobOutcome.OK, result


async def test_a_cancelled_job_frees_its_slot():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        task = asyncio.create_task(pool.run(SLEEP))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await pool.run(ADD)).outcome is JobOutcome.OK


async def test_closing_ends_every_process_and_file(tmp_path):
    before = set(os.listdir("/proc/self/fd"))
    pool = SandboxPool(PoolConfig(directory=str(tmp_path), slots=2, calibration=1.0))
    await pool.start()
    await asyncio.gather(*(pool.run(ADD) for _ in range(8)))
    await pool.judge(ADD, "assert f(1) == 2")
    running = asyncio.create_task(pool.run(SLEEP))
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    processes = _processes()
    assert processes
    await pool.close()
    await pool.close()
    psutil.wait_procs(processes, timeout=5)
    assert not [p for p in processes if p.is_running()]
    assert os.listdir(tmp_path) == []
    assert set(os.listdir("/proc/self/fd")) <= before


HOST = """
import asyncio, sys, threading
from berry.sandboxes.base import Job, Limits
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.pool import SandboxPool

async def main():
    pool = SandboxPool(PoolConfig(slots=2, calibration=1.0, directory=sys.argv[1], namespaces=sys.argv[2] == "on"))
    await pool.start()
    source = "open('left', 'w').write('x')\\nimport time; time.sleep(300)"
    for _ in range(2):
        asyncio.create_task(pool.run(Job(source, limits=Limits(wall_s=300))))
    await asyncio.sleep(0.3)
    print("up", flush=True)
    await asyncio.sleep(300)

if sys.argv[3] == "thread":
    t = threading.Thread(target=lambda: asyncio.run(main())); t.start(); t.join()
else:
    asyncio.run(main())
"""


def _runs(process: psutil.Process) -> bool:
    """Alive, and not a corpse that waits for whoever adopted it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("namespaces", ["on", pytest.param("off", marks=pytest.mark.slow)])
@pytest.mark.parametrize("where", ["main", pytest.param("thread", marks=pytest.mark.slow)])
def test_a_killed_host_leaves_nothing_behind(tmp_path, namespaces, where):
    script = tmp_path / "host.py"
    script.write_text(textwrap.dedent(HOST))
    work = tmp_path / "work"
    work.mkdir()
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    host = subprocess.Popen(
        [sys.executable, str(script), str(work), namespaces, where], stdout=subprocess.PIPE, env=environment
    )
    assert host.stdout
    assert host.stdout.readline() == b"up\n"
    processes = psutil.Process(host.pid).children(recursive=True)
    assert len(processes) >= 5
    host.kill()
    host.wait()
    host.stdout.close()
    deadline = time.monotonic() + 8
    while any(map(_runs, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [p for p in processes if _runs(p)]
    while os.listdir(work) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert os.listdir(work) == []


async def test_what_a_killed_pool_left_on_disk_is_swept_by_the_next(tmp_path):
    stale = tmp_path / "berry-sandbox-stale"
    (stale / "s1" / "0" / "w").mkdir(parents=True)
    (stale / "s1" / "0" / "w" / "file").write_text("x")
    fresh = tmp_path / "berry-sandbox-fresh"
    fresh.mkdir()
    os.utime(stale, (1, 1))
    async with SandboxPool(PoolConfig(directory=str(tmp_path), **SMALL)):
        assert not stale.exists()
        assert fresh.exists()


@pytest.mark.slow
def test_a_fork_bomb_does_not_outlive_a_pool_that_closes_on_it():
    """Without a PID namespace, whatever a slot leaves alive when its template ends is nobody's, and forks for ever."""
    bomb = Job("f() { f | f & }; f; while :; do :; done", language="shell", limits=Limits(cpu_s=20, wall_s=30))

    async def main() -> set[int]:
        async with SandboxPool(PoolConfig(**SMALL, launcher=launcher_of("pod"))) as pool:
            running = asyncio.create_task(pool.run(bomb))
            await asyncio.sleep(1.5)
            sessions = {os.getsid(process.pid) for process in _processes()} - {os.getsid(0)}
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return sessions

    sessions = asyncio.run(main())
    assert sessions
    left = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            left += [pid] if os.getsid(pid) in sessions else []
    assert not left
