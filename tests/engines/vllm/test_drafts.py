"""A real engine that drafts by n-grams: steps end where they should, numbers are the model's, drafts are counted."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines.vllm.engine import Vllm
from berry.pipeline.records import Finish
from berry.pipeline.stages.problems import arithmetic
from tests.engines.conftest import loaded

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(900)]

NGRAM = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 1, "prompt_lookup_max": 3}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def drafting(tiny_config: VllmEngine) -> AsyncIterator[Vllm]:
    config = tiny_config.model_copy(update={"extra": {"speculative_config": NGRAM}})
    async with loaded(config) as engine:
        yield engine


def prompts(engine: Vllm, count: int = 6) -> list[list[int]]:
    return [engine.encode(problem.messages) for problem in arithmetic.draw(count, seed=9)]


async def test_a_step_ends_at_its_delimiter_however_many_drafts_were_accepted_behind_it(drafting: Vllm, sample: Any):
    for prompt in prompts(drafting):
        found = await sample(drafting, prompt, n=8, until=Until(100, ("\n",)))
        for completion in found.values():
            assert completion.finish in (Finish.STEP, Finish.STOP)
            assert completion.text.count("\n") == completion.text.endswith("\n")
            assert len(completion.logprobs) == len(completion.token_ids)


async def test_log_probabilities_are_of_the_distribution_that_was_sampled_from(
    drafting: Vllm, sample: Any, drawn_from: Any
):
    (prompt, *_) = prompts(drafting)
    for sampling in (Sampling(), Sampling(temperature=0.7, top_p=0.95), Sampling(temperature=1.3, top_k=3)):
        for completion in (await sample(drafting, prompt, n=8, sampling=sampling)).values():
            rows = drawn_from([*prompt, *completion.token_ids], sampling)[len(prompt) - 1 :]
            expected = [rows[i, token].item() for i, token in enumerate(completion.token_ids)]
            assert completion.logprobs == pytest.approx(expected, abs=1e-4)


async def test_what_is_drafted_does_not_change_what_is_sampled(drafting: Vllm, sample: Any, reference: Any):
    """The share of the commonest first step is its probability under the model."""
    (prompt, *_) = prompts(drafting)
    found = await sample(drafting, prompt, n=400, until=Until(64, ("\n",)))
    counts = Counter(completion.token_ids for completion in found.values())
    step, count = counts.most_common(1)[0]
    rows = reference([*prompt, *step])[len(prompt) - 1 :]
    chance = math.exp(sum(rows[i, token].item() for i, token in enumerate(step)))
    assert 0.05 < chance < 0.999
    assert abs(count - 400 * chance) < 4 * math.sqrt(400 * chance * (1 - chance))


async def test_greedy_steps_put_together_are_the_model_s_greedy_answer(drafting: Vllm, sample: Any, reference: Any):
    greedy = Sampling(temperature=0.0)
    for prompt in prompts(drafting, 3):
        grown: list[int] = []
        finish = Finish.STEP
        while finish is Finish.STEP:
            part = (await sample(drafting, [*prompt, *grown], until=Until(64, ("\n",)), sampling=greedy))[0]
            grown, finish = [*grown, *part.token_ids], part.finish
        rows = reference([*prompt, *grown])[len(prompt) - 1 :]
        assert rows.argmax(-1).tolist()[: len(grown)] == grown


async def test_drafts_and_those_accepted_are_counted(drafting: Vllm, sample: Any):
    before = drafting.counters()
    for prompt in prompts(drafting):
        await sample(drafting, prompt, n=4)
    counters = drafting.counters()
    drafted = counters.drafted_tokens - before.drafted_tokens
    accepted = counters.accepted_tokens - before.accepted_tokens
    assert 0 < accepted <= drafted


async def test_cancelled_samples_and_new_weights_are_as_without_drafts(drafting: Vllm, sample: Any, tiny_folder: Path):
    (prompt, *_) = prompts(drafting)
    hot = Sampling(temperature=2.0)
    found = await sample(drafting, prompt, n=32, until=Until(100), sampling=hot, cancel_after_s=0.05)
    assert all(c.text == drafting.decode(c.token_ids) for c in found.values())
    swapping = asyncio.ensure_future(drafting.load_weights(str(tiny_folder), "v1"))
    running = await sample(drafting, prompt, n=4)
    await swapping
    assert {c.finish for c in running.values()} == {Finish.STOP}
    assert {c.weights_version for c in (await sample(drafting, prompt)).values()} == {"v1"}
