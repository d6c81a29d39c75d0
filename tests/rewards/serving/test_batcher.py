from __future__ import annotations

import asyncio
import threading

import pytest

from berry.pipeline.errors import EngineError
from berry.pipeline.rewards.serving.batcher import Batcher


async def test_requests_of_one_moment_share_a_batch() -> None:
    sizes: list[int] = []

    def compute(batch: list[int]) -> list[int]:
        sizes.append(len(batch))
        return [x * 2 for x in batch]

    batcher = Batcher(compute, max_batch=16, max_wait_s=0.05)
    assert await asyncio.gather(*(batcher.ask(x) for x in range(16))) == [x * 2 for x in range(16)]
    assert sizes == [16]
    await batcher.close()


async def test_a_lone_request_waits_no_longer_than_the_bound_for_company() -> None:
    batcher = Batcher(lambda batch: batch, max_batch=64, max_wait_s=0.01)
    assert await asyncio.wait_for(batcher.ask(7), 5) == 7
    await batcher.close()


async def test_requests_gather_while_a_batch_is_computed() -> None:
    gate, started = threading.Event(), threading.Event()
    sizes: list[int] = []

    def compute(batch: list[int]) -> list[int]:
        sizes.append(len(batch))
        started.set()
        gate.wait(5)
        return batch

    batcher = Batcher(compute, max_batch=64, max_wait_s=0.0)
    first = asyncio.create_task(batcher.ask(0))
    await asyncio.to_thread(started.wait, 5)
    later = [asyncio.create_task(batcher.ask(i)) for i in range(1, 10)]
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(first, *later)
    assert sizes == [1, 9]
    await batcher.close()


async def test_a_failing_batch_fails_its_requests_and_not_the_next() -> None:
    def compute(batch: list[int]) -> list[int]:
        if -1 in batch:
            raise RuntimeError("out of memory")
        return batch

    batcher = Batcher(compute, max_batch=4, max_wait_s=0.001)
    with pytest.raises(EngineError, match="out of memory"):
        await batcher.ask(-1)
    assert await batcher.ask(3) == 3
    await batcher.close()


async def test_a_change_happens_between_batches() -> None:
    gate, started = threading.Event(), threading.Event()
    version = ["old"]

    def compute(batch: list[int]) -> list[str]:
        before = version[0]
        started.set()
        gate.wait(5)
        assert version[0] == before
        return [before] * len(batch)

    batcher = Batcher(compute, max_batch=1, max_wait_s=0)
    running = asyncio.create_task(batcher.ask(0))
    await asyncio.to_thread(started.wait, 5)

    async def change() -> None:
        version[0] = "new"

    changing = asyncio.create_task(batcher.between_batches(change))
    await asyncio.sleep(0.01)
    assert not changing.done()
    gate.set()
    assert await running == "old"
    await changing
    assert await batcher.ask(1) == "new"
    await batcher.close()


async def test_closing_leaves_nobody_waiting() -> None:
    gate = threading.Event()
    batcher = Batcher(lambda batch: (gate.wait(5), batch)[1], max_batch=1, max_wait_s=0)
    asks = [asyncio.create_task(batcher.ask(i)) for i in range(3)]
    await asyncio.sleep(0.05)
    gate.set()
    await batcher.close()
    for outcome in await asyncio.gather(*asks, return_exceptions=True):
        assert not isinstance(outcome, Exception) or isinstance(outcome, EngineError)
