"""The synthetic engine: its draws agree with the truth it states, and end where they are told to."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core.events import Completion, Sampling, Until
from berry.pipeline.core.values.intervals import wilson
from berry.pipeline.engines.base import Engine, Request
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.engines.synthetic.process import STEP_END
from berry.pipeline.records import Finish
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from berry.verifiers.specs.union import MathSpec

SEED = 1 << 32


async def draws(
    engine: Synthetic,
    prompt: list[int],
    n: int = 1,
    *,
    until: Until | None = None,
    sampling: Sampling | None = None,
    seed: int = SEED,
) -> list[Completion]:
    request = Request("r", prompt, n, until or Until(1000), sampling or Sampling(), seed)
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
                done, total, partial = chain.position(completion.token_ids[:end])
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
    assert sum(engine.chain(prompt).segments_kept > 0 for prompt in prompts) < len(prompts)
    assert [await draws(engine, prompt, 4) for prompt in prompts] == before


async def test_any_prompt_is_answered() -> None:
    engine = Synthetic(SyntheticEngine())
    completion = (await draws(engine, engine.encode([{"role": "user", "content": "Prove it."}])))[0]
    assert completion.finish is Finish.STOP


@pytest.mark.parametrize(
    ("key", "value"),
    [("error_rate", (0.5, 0.1)), ("repair_rate", (0, 2)), ("filler_tokens", (3, 1)), ("tokens_per_s", 0)],
)
def test_ranges_that_make_no_sense_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        SyntheticEngine.model_validate({key: value})
