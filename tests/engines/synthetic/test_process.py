"""The synthetic engine as one that serves: what its cache counts, who waits for whom, and what a cancelled request
leaves behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core.events import Completion, Sampling, Until
from berry.pipeline.engines.base import Request
from berry.pipeline.engines.synthetic.cache import SimulatedPrefixCache
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.records import Finish
from berry.pipeline.stages.problems.synthetic import synthetic_problems

WHOLE = Until(1000)


def prompt_of(engine: Synthetic) -> list[int]:
    return engine.encode(synthetic_problems(1)[0].messages)


async def test_the_cache_counts_full_blocks_and_never_the_last_token(sample: Any) -> None:
    engine = Synthetic(SyntheticEngine(block_size=16))
    prompt = prompt_of(engine)
    first = (await sample(engine, prompt, n=2, until=WHOLE))[0]
    assert first.cached_tokens == 0
    again = await sample(engine, prompt, n=2, until=WHOLE)
    assert again[0].cached_tokens == (len(prompt) - 1) // 16 * 16
    assert again[1].cached_tokens == 0
    deeper = [*prompt, *first.token_ids]
    assert (await sample(engine, deeper, until=WHOLE))[0].cached_tokens == (len(deeper) - 1) // 16 * 16
    counters = engine.counters()
    assert counters.cached_tokens == again[0].cached_tokens + (len(deeper) - 1) // 16 * 16
    assert counters.prompt_tokens == 2 * len(prompt) + len(deeper)


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache = SimulatedPrefixCache(block_size=4, capacity=4)
    for start in (0, 100, 200):
        _, prefix = cache.lookup(range(start, start + 8))
        cache.store(prefix, ())
    assert cache.usage == 1
    assert cache.lookup([*range(200, 208), 1])[0] == 8
    assert cache.lookup([*range(8), 1])[0] == 0
    assert SimulatedPrefixCache(4, 0).lookup(range(9))[0] == 0


async def test_speed_queue_priority_and_occupancy(sample: Any) -> None:
    engine = Synthetic(SyntheticEngine(tokens_per_s=2000, max_num_seqs=2, prefill_tokens_per_s=1e6))
    await engine.start()
    prompt = prompt_of(engine)
    order: list[str] = []

    async def ask(name: str, priority: float) -> None:
        await sample(engine, prompt, n=2 if name == "first" else 1, until=WHOLE, priority=priority)
        order.append(name)

    first = asyncio.create_task(ask("first", 0))
    await asyncio.sleep(0.01)
    late = [asyncio.create_task(ask(name, p)) for name, p in (("low", 5.0), ("high", -5.0))]
    await asyncio.sleep(0.005)
    counters = engine.counters()
    assert (counters.running, counters.waiting) == (2, 2)
    await asyncio.gather(first, *late)
    assert order.index("high") < order.index("low")
    counters = engine.counters()
    assert counters.running == counters.waiting == 0
    assert 0 < counters.running_integral <= 2 * counters.busy_s


@pytest.mark.parametrize("speed", [None, 200.0])
async def test_cancel_frees_the_request(speed: float | None) -> None:
    engine = Synthetic(SyntheticEngine(tokens_per_s=speed, max_num_seqs=4))
    await engine.start()
    request = Request("r", prompt_of(engine), 500, WHOLE, Sampling(), seed=1)
    found: list[Completion] = []

    async def run() -> None:
        async for sample in engine.generate(request):
            found.append(sample.completion)

    task = asyncio.create_task(run())
    await asyncio.sleep(0.2 if speed else 0)  # some 40 tokens
    await engine.cancel("r")
    await asyncio.wait_for(task, 5)
    await engine.cancel("r")
    cancelled = [c for c in found if c.finish is Finish.CANCELLED]
    if speed:
        assert len(found) == len(cancelled) == 500
        assert any(c.token_ids for c in cancelled)
        assert sum(bool(c.token_ids) for c in cancelled) <= 4
    else:
        assert 0 < len(found) < 500
    assert engine.counters().running == engine.counters().waiting == 0
    await engine.close()


async def test_a_cancelled_request_that_waited_gives_up_its_place(sample: Any) -> None:
    engine = Synthetic(SyntheticEngine(tokens_per_s=500, max_num_seqs=1))
    await engine.start()
    prompt = prompt_of(engine)
    tasks = [asyncio.create_task(sample(engine, prompt, until=WHOLE, request_id=f"r{i}")) for i in range(3)]
    await asyncio.sleep(0.01)
    await engine.cancel("r1")
    done = await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert [c[0].finish for c in done] == [Finish.STOP, Finish.CANCELLED, Finish.STOP]
