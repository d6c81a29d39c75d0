"""The synthetic engine: its draws agree with the truth it states, and it behaves as the protocol says."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.config.synthetic import SyntheticEngine
from pipeline.core.backup import wilson
from pipeline.core.events import Completion, Sampling, Until
from pipeline.engines.base import Engine, Request
from pipeline.engines.synthetic import Synthetic
from pipeline.engines.synthetic_cache import PrefixCache
from pipeline.engines.synthetic_process import STEP_END
from pipeline.records import Finish
from pipeline.stages.synthetic_problems import synthetic_problems
from verifiers.specs import MathSpec

SEED = 1 << 32


async def draws(
    engine: Synthetic,
    prompt: list[int],
    n: int = 1,
    *,
    until: Until | None = None,
    sampling: Sampling | None = None,
    seed: int = SEED,
    priority: float = 0.0,
    name: str = "r",
) -> list[Completion]:
    request = Request(name, prompt, n, until or Until(1000), sampling or Sampling(), seed, priority)
    found = {sample.index: sample.completion async for sample in engine.generate(request)}
    return [found[i] for i in sorted(found)]


def gold(index: int = 0, *, steps: tuple[int, int] = (4, 8)) -> tuple[list[dict[str, str]], str]:
    problem = synthetic_problems(1, first=index, steps=steps)[0]
    assert isinstance(problem.verifier, MathSpec)
    return problem.messages, problem.verifier.answer


def right(completion: Completion, answer: str) -> bool:
    return completion.text.endswith(f"\\boxed{{{answer}}}.")


def test_it_calls_itself_synthetic() -> None:
    info = Synthetic(SyntheticEngine()).info
    assert isinstance(Synthetic(SyntheticEngine()), Engine)
    assert info.synthetic
    assert info.model == "synthetic"


@given(st.text(max_size=40), st.text(max_size=40))
def test_encoding_is_reversible(system: str, user: str) -> None:
    engine = Synthetic(SyntheticEngine())
    ids = engine.encode([{"role": "system", "content": system}, {"role": "user", "content": user}])
    assert engine.decode(ids) == f"<|system|>\n{system}<|end|>\n<|user|>\n{user}<|end|>\n<|assistant|>\n"


@pytest.mark.parametrize("index", range(4))
async def test_pass_rate_agrees_with_the_true_value(index: int) -> None:
    engine = Synthetic(SyntheticEngine())
    messages, answer = gold(index)
    prompt = engine.encode(messages)
    passed = sum(right(c, answer) for c in await draws(engine, prompt, 2000))
    low, high = wilson(passed, 2000, z=4.0)
    assert low <= engine.true_value(prompt) <= high


@pytest.mark.parametrize("tell", [0.0, 0.7])
async def test_the_true_value_holds_at_every_prefix(tell: float) -> None:
    engine = Synthetic(SyntheticEngine(error_rate=(0.3, 0.3), repair_rate=(0.2, 0.2), tell=tell))
    messages, answer = gold()
    prompt = engine.encode(messages)
    response = (await draws(engine, prompt))[0].token_ids
    values: set[float] = set()
    for cut in range(0, len(response) + 1, 3):
        prefix = [*prompt, *response[:cut]]
        continued = await draws(engine, prefix, 600, seed=SEED * (cut + 2))
        texts = [engine.decode(response[:cut]) + c.text for c in continued]
        low, high = wilson(sum(t.endswith(f"{{{answer}}}.") for t in texts), 600, z=4.0)
        assert low <= engine.true_value(prefix) <= high, f"after {cut} tokens"
        values.add(round(engine.true_value(prefix), 6))
    assert len(values) > 3


async def test_steps_tell_whether_they_are_sure_as_often_as_they_know() -> None:
    engine = Synthetic(SyntheticEngine(error_rate=(0.3, 0.3), tell=0.6))
    told: list[bool] = []
    for index in range(60):
        messages, _ = gold(index)
        prompt = engine.encode(messages)
        chain = engine.chain(prompt)
        for completion in await draws(engine, prompt, 8):
            words = completion.text.split("\n\n")[:-1]
            ends = [i + 1 for i, token in enumerate(completion.token_ids) if token == STEP_END]
            assert len(words) == len(ends) == chain.n_steps
            for word, end in zip(words, ends, strict=True):
                done, total, partial = chain.place(completion.token_ids[:end])
                assert partial == ()
                assert word.endswith((" (sure)", " (doubtful)"))
                told.append(word.endswith(" (sure)") == (total == chain.totals[done]))
    assert sum(told) / len(told) == pytest.approx(0.8, abs=0.05)


async def test_the_result_token_carries_the_entropy() -> None:
    engine = Synthetic(SyntheticEngine(error_rate=(0.3, 0.3), hard_share=0.3))
    messages, _ = gold(steps=(8, 8))
    prompt = engine.encode(messages)
    completion = (await draws(engine, prompt, sampling=Sampling(top_logprobs=5)))[0]
    chain = engine.chain(prompt)
    peaks = [h for h in completion.entropies if h > 0.1]
    assert len(peaks) == chain.n_steps
    assert len(completion.entropies) == len(completion.logprobs) == len(completion.token_ids)
    assert (await draws(engine, prompt))[0].entropies == ()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**40), st.sampled_from(["", "\n\n", "=", "4"]), st.integers(1, 60))
async def test_equal_seeds_give_equal_output_and_the_text_is_that_of_the_tokens(
    seed: int, stop: str, max_tokens: int
) -> None:
    until = Until(max_tokens, (stop,) if stop else (), token_ends=True)
    one, other = Synthetic(SyntheticEngine()), Synthetic(SyntheticEngine())
    messages, _ = gold()
    prompt = one.encode(messages)
    first = await draws(one, prompt, 3, until=until, seed=seed)
    assert first == await draws(other, prompt, 3, until=until, seed=seed)
    alone = await draws(one, prompt, 1, until=until, seed=seed + 2)
    assert alone[0].token_ids == first[2].token_ids
    for completion in first:
        assert one.decode(completion.token_ids) == completion.text
        assert completion.token_ends[-1] == len(completion.text)
        assert len(completion.token_ids) <= max_tokens


async def test_stops_end_a_segment_after_the_token_that_completes_them() -> None:
    engine = Synthetic(SyntheticEngine())
    messages, _ = gold()
    prompt = engine.encode(messages)
    step = (await draws(engine, prompt, until=Until(1000, ("\n\n",))))[0]
    assert step.finish is Finish.STEP
    assert step.text.endswith("\n\n")
    assert step.text.count("\n\n") == 1
    spanning = (await draws(engine, prompt, until=Until(1000, ("\n\nStep 2",))))[0]
    assert spanning.text.endswith("\n\nStep 2")
    matched = (await draws(engine, prompt, until=Until(1000, regex=r"= \d+")))[0]
    assert matched.finish is Finish.STEP
    assert re.search(r"= \d+$", matched.text)
    short = (await draws(engine, prompt, until=Until(5)))[0]
    assert (short.finish, len(short.token_ids)) == (Finish.LENGTH, 5)
    assert (await draws(engine, prompt))[0].finish is Finish.STOP


async def test_segments_join_to_what_one_request_says_when_nothing_is_left_to_chance() -> None:
    engine = Synthetic(SyntheticEngine())
    messages, _ = gold()
    prompt = engine.encode(messages)
    greedy = Sampling(temperature=0)
    whole = (await draws(engine, prompt, sampling=greedy))[0]
    ids: list[int] = []
    text = ""
    while True:
        piece = (await draws(engine, [*prompt, *ids], until=Until(4), sampling=greedy))[0]
        ids.extend(piece.token_ids)
        text += piece.text
        if piece.finish is Finish.STOP:
            break
    assert tuple(ids) == whole.token_ids
    assert engine.info.seamless
    assert text == engine.decode(ids) == whole.text


async def test_faults_come_as_often_as_configured_and_cost_value() -> None:
    config = SyntheticEngine(error_rate=(0, 0), empty_rate=0.2, endless_rate=0.3)
    engine = Synthetic(config)
    messages, _ = gold()
    prompt = engine.encode(messages)
    found = await draws(engine, prompt, 1000, until=Until(200))
    assert 140 < sum(not c.token_ids for c in found) < 260
    endless = [c for c in found if c.finish is Finish.LENGTH]
    assert 240 < len(endless) < 360
    assert len(endless[0].token_ids) == 200
    assert engine.true_value(prompt) == pytest.approx(0.5)
    assert engine.true_value([*prompt, *endless[0].token_ids]) == 0
    went_on = (await draws(engine, [*prompt, *endless[0].token_ids], until=Until(10)))[0]
    assert went_on.finish is Finish.LENGTH


async def test_what_is_forgotten_is_drawn_again_as_it_was() -> None:
    engine = Synthetic(SyntheticEngine(cache_tokens=0))
    prompts = [engine.encode(gold(index)[0]) for index in range(70)]
    before = [await draws(engine, prompt, 4) for prompt in prompts]
    assert sum(bool(engine.chain(prompt).drawings) for prompt in prompts) < len(prompts)
    assert [await draws(engine, prompt, 4) for prompt in prompts] == before


async def test_any_prompt_is_answered() -> None:
    engine = Synthetic(SyntheticEngine())
    completion = (await draws(engine, engine.encode([{"role": "user", "content": "Prove it."}])))[0]
    assert completion.finish is Finish.STOP


async def test_the_cache_counts_full_blocks_and_never_the_last_token() -> None:
    engine = Synthetic(SyntheticEngine(block_size=16))
    messages, _ = gold()
    prompt = engine.encode(messages)
    first = (await draws(engine, prompt, 2))[0]
    assert first.cached_tokens == 0
    again = await draws(engine, prompt, 2)
    assert again[0].cached_tokens == (len(prompt) - 1) // 16 * 16
    assert again[1].cached_tokens == 0
    deeper = [*prompt, *first.token_ids]
    assert (await draws(engine, deeper))[0].cached_tokens == (len(deeper) - 1) // 16 * 16
    counters = engine.counters()
    assert counters.cached_tokens == again[0].cached_tokens + (len(deeper) - 1) // 16 * 16
    assert counters.prompt_tokens == 2 * len(prompt) + len(deeper)


def test_the_cache_forgets_what_was_used_longest_ago() -> None:
    cache = PrefixCache(block_size=4, capacity=4)
    for start in (0, 100, 200):
        _, prefix = cache.lookup(range(start, start + 8))
        cache.store(prefix, ())
    assert cache.usage == 1
    assert cache.lookup([*range(200, 208), 1])[0] == 8
    assert cache.lookup([*range(8), 1])[0] == 0
    assert PrefixCache(4, 0).lookup(range(9))[0] == 0


async def test_speed_queue_priority_and_occupancy() -> None:
    engine = Synthetic(SyntheticEngine(tokens_per_s=2000, max_num_seqs=2, prefill_tokens_per_s=1e6))
    await engine.start()
    messages, _ = gold()
    prompt = engine.encode(messages)
    order: list[str] = []

    async def ask(name: str, priority: float) -> None:
        await draws(engine, prompt, 2 if name == "first" else 1, priority=priority, name=name)
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
    messages, _ = gold()
    request = Request("r", engine.encode(messages), 500, Until(1000), Sampling(), SEED)
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


async def test_a_cancelled_request_that_waited_gives_up_its_place() -> None:
    engine = Synthetic(SyntheticEngine(tokens_per_s=500, max_num_seqs=1))
    await engine.start()
    messages, _ = gold()
    prompt = engine.encode(messages)
    tasks = [asyncio.create_task(draws(engine, prompt, name=f"r{i}")) for i in range(3)]
    await asyncio.sleep(0.01)
    await engine.cancel("r1")
    done = await asyncio.wait_for(asyncio.gather(*tasks), 5)
    assert [c[0].finish for c in done] == [Finish.STOP, Finish.CANCELLED, Finish.STOP]


@pytest.mark.parametrize(
    ("key", "value"),
    [("error_rate", (0.5, 0.1)), ("repair_rate", (0, 2)), ("filler_tokens", (3, 1)), ("tokens_per_s", 0)],
)
def test_ranges_that_make_no_sense_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        SyntheticEngine.model_validate({key: value})
