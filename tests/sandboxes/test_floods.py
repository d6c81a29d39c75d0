"""What a child sends is bounded in frames, bytes and decoding time: the host neither grows nor stops."""

from __future__ import annotations

import asyncio
import itertools
import time
import tracemalloc
from collections import deque
from fractions import Fraction
from typing import Any

import psutil
import pytest

from berry.sandboxes import wire
from berry.sandboxes.attacks.protocol import FLOODS, FRAME, MAKE, SLOW
from berry.sandboxes.base import MIB, Call, Job, JobOutcome, JudgeStatus, Limits

LIMITS = Limits(cpu_s=2, wall_s=4, memory_bytes=256 * MIB)


def _grown(box, work) -> tuple[Any, float]:
    """The result, and MiB by which this process grew."""
    before = psutil.Process().memory_info().rss
    result = work()
    return result, (psutil.Process().memory_info().rss - before) / MIB


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_from_a_program_breaks_it_off(box, flood):
    start = time.monotonic()
    result, mib = _grown(box, lambda: box.program(FRAME + FLOODS[flood], limits=LIMITS))
    if flood != "final_frames":  # it has said that it is done
        assert result.outcome in (JobOutcome.VIOLATION, JobOutcome.OUTPUT_LIMIT), result
    assert time.monotonic() - start < 3
    assert mib < 24, mib


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_from_a_call_breaks_it_off(box, flood):
    source = FRAME + "def f(x):\n    " + FLOODS[flood].replace("\n", "\n    ")
    result, mib = _grown(box, lambda: box.call(source, 1, limits=LIMITS))
    assert result.outcome.blames_program or flood in ("results", "from_a_thread"), result
    assert result.cases[0].value in (None, 2)  # a candidate may well claim a value of its own
    assert mib < 24, mib


@pytest.mark.parametrize("flood", ["small_frames", "results", "long_frames", "from_a_thread"])
def test_a_flood_to_a_judge_is_the_candidates_failure(box, flood):
    source = FRAME + "def f(x):\n    " + FLOODS[flood].replace("\n", "\n    ") + "\n    return 0"
    result, mib = _grown(box, lambda: box.judge(source, "assert f(1) == 3\nassert f(2) == 4", limits=LIMITS))
    assert result.status in (JudgeStatus.CANDIDATE, JudgeStatus.FAILED), result
    assert mib < 24, mib


def test_results_sent_early_are_not_believed(box):
    source = FRAME + "def f(x):\n    send(result(2) + result(42)); return 0"
    result = box.run(Job(source, entry_point="f", calls=(Call((1,)), Call((41,)))))
    assert result.outcome is JobOutcome.VIOLATION
    assert [case.value for case in result.cases] == [None, None]


def test_all_values_together_are_bounded(box):
    source = "def f(x): return 'x' * 1_000_000"
    calls = tuple(Call((i,)) for i in range(200))
    job = Job(source, entry_point="f", calls=calls, limits=Limits(wall_s=60))
    result, mib = _grown(box, lambda: box.run(job))
    assert result.outcome is JobOutcome.OUTPUT_LIMIT, result.outcome
    assert result.cases[0].outcome is JobOutcome.OK
    assert mib < 128, mib
    few = box.run(Job(source, entry_point="f", calls=calls[:10], limits=Limits(wall_s=60)))
    assert few.outcome is JobOutcome.OK


@pytest.mark.parametrize("shape", SLOW)
def test_no_value_stops_the_event_loop(box, shape):
    async def stalls() -> tuple[Any, float]:
        worst, done = 0.0, False

        async def tick() -> None:
            nonlocal worst
            while not done:
                start = time.monotonic()
                await asyncio.sleep(0.005)
                worst = max(worst, time.monotonic() - start)

        ticking = asyncio.create_task(tick())
        limits = Limits(cpu_s=5, wall_s=30)
        source = FRAME + MAKE.replace("VALUE", SLOW[shape])
        result = await box.pool.run(Job(source, entry_point="f", calls=(Call((1,)),), limits=limits))
        done = True
        await ticking
        return result, worst

    result, worst = box.wait(stalls())
    assert worst < 1.0, worst
    assert result.outcome in (JobOutcome.VIOLATION, JobOutcome.RUNTIME_ERROR, JobOutcome.OK), result
    assert result.outcome is not JobOutcome.OK or shape in (
        "keys_that_probe_alike",
        "many_fractions",
        "many_lists",
        "many_small_tags",
    )


@pytest.mark.parametrize("shape", ["many_lists", "many_small_tags", "long_keys_of_equal_hash"])
def test_no_value_on_its_way_to_a_judge_stops_the_event_loop(box, shape):
    source = FRAME + MAKE.replace("VALUE", SLOW[shape]).replace("' + text + '", "[' + text + ',[]]")
    start = time.monotonic()
    result = box.judge(source, "assert f(f(1)) == 2", limits=Limits(cpu_s=5, wall_s=30))
    assert result.status in (JudgeStatus.CANDIDATE, JudgeStatus.FAILED), result
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    "item", ["[]", '{"~":"s","v":[0]}', '{"~":"d","k":[0],"v":[0]}', '"ab"', "999", "[0,0]", "1.5"]
)
def test_the_memory_of_a_value_is_estimated_from_its_frame(item):
    body = f"[{','.join([item] * 20_000)}]".encode()
    tracemalloc.start()
    value = wire.loads(body)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(value) == 20_000
    assert taken < 2.5 * wire.decoded_bytes(body)
    assert wire.decoded_bytes(body) < 20 * taken


def test_honest_values_near_the_limits_pass(box):
    deep = 0
    for _ in range(90):
        deep = [deep]
    source = f"def f(x):\n    return {deep!r}, set(range(50000)), {{i: str(i) for i in range(20000)}}"
    result = box.call(source, 1, limits=Limits())
    assert result.outcome is JobOutcome.OK, result.error
    assert result.cases[0].value[0] == deep


def test_keys_of_equal_hash_are_refused_by_the_work_they_make():
    few = {(a, b, c, d) for a in (-2, -1) for b in (-2, -1) for c in (-2, -1) for d in (-2, -1)}  # -1 hashes as -2
    grid = set(itertools.product((-2, -1, 0, 1), repeat=5))
    for honest in (few, grid, {i * (2**61 - 1) for i in range(1000)}, {(-1, i) for i in range(5000)}):
        assert wire.loads(wire.dumps(honest)) == honest
    for hostile in ({i * (2**61 - 1) for i in range(3000)}, {(*[999] * 450, i * (2**61 - 1)) for i in range(300)}):
        with pytest.raises(wire.WireError, match="equal hashes"):
            wire.loads(wire.dumps(hostile))


def test_deques_are_few():
    for n, passes in ((1000, True), (1200, False)):
        body = wire.dumps([deque([1])] * n)
        if passes:
            assert len(wire.loads(body)) == n
        else:
            with pytest.raises(wire.WireError, match="deques"):
                wire.loads(body)


def test_too_deep_too_long_and_too_large_are_not_plain():
    deep = 0
    for _ in range(wire.MAX_DEPTH + 2):
        deep = [deep]
    for value in (deep, Fraction(3**20000, 2**40001)):
        with pytest.raises(wire.Unsupported):
            wire.dumps(value)
    text = b"[" * (wire.MAX_DEPTH + 5) + b"]" * (wire.MAX_DEPTH + 5)
    with pytest.raises(wire.WireError):
        wire.loads(text)


def test_an_errors_text_can_be_written_in_any_encoding(box):
    result = box.call("def f(x): raise ValueError('\\ud800' + chr(0xDFFF))", 1)
    assert result.outcome is JobOutcome.RUNTIME_ERROR
    assert result.cases[0].error.encode()
