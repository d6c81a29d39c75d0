"""What `berry.pipeline.engines.base.Engine` promises, held against every engine."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines.base import Engine, Request
from berry.pipeline.records import Finish

pytestmark = pytest.mark.asyncio(loop_scope="session")


def step(subject: Any) -> Until:
    return Until(max_tokens=64, delimiters=(subject.delimiter,))


async def test_it_is_an_engine_and_says_what_it_is(subject: Any):
    assert isinstance(subject.engine, Engine)
    assert subject.engine.info.synthetic is (subject.name in ("synthetic", "scripted"))
    assert subject.engine.info.max_num_seqs == 32


async def test_every_sample_comes_once_with_text_that_decodes_its_tokens(subject: Any, sample: Any):
    found = await sample(subject.engine, subject.prompt(), n=5)
    assert sorted(found) == [0, 1, 2, 3, 4]
    for completion in found.values():
        assert completion.token_ids
        assert completion.text == subject.engine.decode(completion.token_ids)
        assert len(completion.logprobs) == len(completion.token_ids)
        assert all(value <= 1e-6 for value in completion.logprobs)
        assert completion.entropies == ()
        assert completion.engine_id == subject.engine.info.engine_id
        assert completion.weights_version == "v0"


async def test_a_delimiter_ends_a_step_and_stays_in_it(subject: Any, sample: Any):
    for completion in (await sample(subject.engine, subject.prompt(), n=4, until=step(subject))).values():
        assert completion.finish is Finish.STEP
        assert completion.text.index(subject.delimiter) == len(completion.text) - len(subject.delimiter)


async def test_without_a_delimiter_it_goes_on_to_the_answer(subject: Any, sample: Any):
    found = await sample(subject.engine, subject.prompt(), n=4, until=Until(max_tokens=100))
    assert {c.finish for c in found.values()} == {Finish.STOP}
    assert all("\n" in c.text for c in found.values())


async def test_it_stops_at_max_tokens(subject: Any, sample: Any):
    found = await sample(subject.engine, subject.prompt(), n=2, until=Until(max_tokens=3))
    assert [(len(c.token_ids), c.finish) for c in found.values()] == [(3, Finish.LENGTH)] * 2


async def test_a_regular_expression_ends_a_step_at_the_token_that_completes_it(subject: Any, sample: Any):
    until = Until(max_tokens=64, regex=subject.regex)
    for completion in (await sample(subject.engine, subject.prompt(), n=3, until=until)).values():
        assert completion.finish is Finish.STEP
        assert re.search(subject.regex, completion.text)
        assert not re.search(subject.regex, subject.engine.decode(completion.token_ids[:-1]))
        assert len(completion.logprobs) == len(completion.token_ids)


async def test_sample_i_is_drawn_with_seed_plus_i(subject: Any, sample: Any):
    together = await sample(subject.engine, subject.prompt(), n=4, seed=70)
    for index in range(4):
        alone = await sample(subject.engine, subject.prompt(), seed=70 + index)
        assert alone[0].token_ids == together[index].token_ids


async def test_entropies_come_when_asked_for(subject: Any, sample: Any):
    found = await sample(subject.engine, subject.prompt(), n=2, sampling=Sampling(top_logprobs=5))
    for completion in found.values():
        assert len(completion.entropies) == len(completion.token_ids)
        assert all(value >= 0 for value in completion.entropies)
        assert max(completion.entropies) > 0


async def test_log_probabilities_are_of_the_distribution_that_was_sampled_from(
    subject: Any, sample: Any, drawn_from: Any
):
    assert subject.engine.info.logprobs_mode == "processed_logprobs"
    if subject.name in ("synthetic", "scripted"):
        return  # theirs are held against the process in tests/stages/dataset/test_reading.py
    ids, sampling = subject.prompt(), Sampling(temperature=0.7, top_p=0.95, top_logprobs=5)
    for completion in (await sample(subject.engine, ids, n=3, sampling=sampling)).values():
        rows = drawn_from([*ids, *completion.token_ids], sampling)[len(ids) - 1 :]
        expected = [rows[i, token].item() for i, token in enumerate(completion.token_ids)]
        assert completion.logprobs == pytest.approx(expected, abs=1e-4)


async def test_token_ends_say_where_each_token_ends_in_the_text(subject: Any, sample: Any):
    until = Until(max_tokens=64, token_ends=True)
    for completion in (await sample(subject.engine, subject.prompt(), n=2, until=until)).values():
        ends = completion.token_ends
        assert len(ends) == len(completion.token_ids)
        assert list(ends) == sorted(ends)
        assert ends[-1] == len(completion.text)
        for count, end in enumerate(ends, start=1):
            assert subject.engine.decode(completion.token_ids[:count]) == completion.text[:end]


async def test_segments_put_together_are_the_whole(subject: Any, sample: Any):
    """At temperature 0, growing step by step on token ids gives what one request gives."""
    greedy = Sampling(temperature=0.0)
    whole = (await sample(subject.engine, subject.prompt(), until=Until(100), sampling=greedy))[0]
    grown: list[int] = []
    finish = Finish.STEP
    while finish is Finish.STEP:
        part = (await sample(subject.engine, [*subject.prompt(), *grown], until=step(subject), sampling=greedy))[0]
        grown, finish = [*grown, *part.token_ids], part.finish
    assert tuple(grown) == whole.token_ids
    assert finish is whole.finish is Finish.STOP


async def test_cancel_hands_back_partial_tokens_and_frees_the_slots(subject: Any, sample: Any):
    before = subject.engine.counters()
    found = await sample(
        subject.engine,
        subject.prompt(),
        n=64,
        until=Until(100),
        sampling=subject.endless,
        request_id="to-cancel",
        cancel_after_s=0.03,
    )
    stopped = [c for c in found.values() if c.finish is Finish.CANCELLED]
    assert len(found) == 64
    assert stopped
    assert all(c.text == subject.engine.decode(c.token_ids) for c in stopped)
    assert await _drained(subject.engine)
    assert subject.engine.counters().generated_tokens - before.generated_tokens < 64 * 100
    assert (await sample(subject.engine, subject.prompt()))[0].finish is Finish.STOP


async def test_cancelling_what_does_not_run_is_no_error(subject: Any):
    await subject.engine.cancel("never heard of")


async def test_closing_the_iterator_frees_the_request(subject: Any):
    request = Request("left-early", subject.prompt(), 64, Until(100), subject.endless, 5)
    samples = subject.engine.generate(request)
    await anext(aiter(samples))
    await samples.aclose()
    assert await _drained(subject.engine)


async def test_a_prompt_that_fills_the_context_gives_empty_samples(subject: Any, sample: Any):
    context = subject.engine.info.max_model_len
    prompt = (subject.prompt() * context)[:context]
    found = await sample(subject.engine, prompt, n=2)
    assert [(c.token_ids, c.finish) for c in found.values()] == [((), Finish.LENGTH)] * 2


async def test_the_context_ends_a_sample(subject: Any, sample: Any):
    context, prompt = subject.engine.info.max_model_len, subject.prompt()
    long = [*(prompt * context)[: context - 2 - len(prompt)], *prompt]
    found = await sample(subject.engine, long, until=Until(50), sampling=subject.endless)
    assert found[0].finish is Finish.LENGTH or len(found[0].token_ids) <= 2
    assert len(found[0].token_ids) <= 2


async def test_counters_add_up(subject: Any, sample: Any):
    await _drained(subject.engine)
    before = subject.engine.counters()
    found = await sample(subject.engine, subject.prompt(1), n=8, until=Until(100))
    await _drained(subject.engine)
    after = subject.engine.counters()
    assert after.generated_tokens - before.generated_tokens == sum(len(c.token_ids) for c in found.values())
    assert after.prompt_tokens - before.prompt_tokens in (len(subject.prompt(1)), 8 * len(subject.prompt(1)))
    assert 0 <= after.cached_tokens - before.cached_tokens <= after.prompt_tokens - before.prompt_tokens
    busy_s = after.busy_s - before.busy_s
    assert busy_s > 0
    assert 0 < (after.running_integral - before.running_integral) / busy_s <= 8


async def _drained(engine: Engine) -> bool:
    """Waits until nothing runs, as the engine itself sees it."""
    for _ in range(500):
        counters = engine.counters()
        if counters.running == counters.waiting == 0:
            return True
        await asyncio.sleep(0.01)
    return False
