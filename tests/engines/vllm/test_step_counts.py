"""What the steps of an engine did is counted as vLLM's own statistics count it."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from berry.pipeline.engines.vllm import compat, step_counts
from tests.engines.vllm.core_requests import open_request


def test_reports_of_older_and_newer_releases_are_read():
    newer = SimpleNamespace(num_running_reqs=3, num_waiting_reqs=2, num_skipped_waiting_reqs=1, kv_cache_usage=0.5)
    newer.prefix_cache_stats = SimpleNamespace(hits=7, queries=9, preempted_queries=6, preempted_hits=4)
    step = SimpleNamespace(num_prompt_tokens=9, num_generation_tokens=4, num_preempted_reqs=2)
    assert step_counts.read_step(newer, step) == step_counts.EngineStep(
        running=3,
        waiting=3,
        kv_usage=0.5,
        prompt_tokens=9,
        cached_tokens=7,
        generated_tokens=4,
        preemptions=2,
        preempted_tokens=2,
    )
    assert step_counts.read_step(None, None) == step_counts.EngineStep(None, 0, 0.0, 0, 0, 0)
    assert step_counts.read_step(SimpleNamespace(num_running_reqs=1), None).waiting == 0


def test_tokens_of_sequences_that_have_ended_are_counted_apart_and_the_others_passed_on():
    passed: list[Any] = []
    processor = SimpleNamespace(
        log_stats=True,
        request_states={"a": SimpleNamespace(is_prefilling=True, prompt_len=5)},
        process_outputs=lambda *args, **named: passed.append((args, named)),
    )
    told: list[step_counts.EngineStep] = []
    counter = step_counts.StepCounter(processor, told.append)
    outputs = [
        SimpleNamespace(request_id=name, new_token_ids=[7] * n, events=None)
        for name, n in (("a", 3), ("b", 2), ("c", 1))
    ]
    counter.process(outputs[:2], 0.5, None)
    counter.process(outputs[2:], 0.5, weight_version="1")
    counter.record(scheduler_stats=SimpleNamespace(num_running_reqs=1))
    counter.record()
    assert told[0] == step_counts.EngineStep(1, 0, 0.0, 5, 0, 3, late_tokens=3)
    assert told[1] == step_counts.EngineStep(None, 0, 0.0, 0, 0, 0)
    assert passed == [((outputs[:1], 0.5, None), {}), (([], 0.5), {"weight_version": "1"})]


@pytest.mark.slow
def test_counts_are_those_of_vllm_s_own_statistics():
    """Prompts, tokens and preemptions of random steps, held against vLLM's IterationStats."""
    compat.load()
    from vllm.v1.engine import EngineCoreEvent, EngineCoreEventType, EngineCoreOutput, FinishReason
    from vllm.v1.engine.output_processor import OutputProcessor
    from vllm.v1.metrics.stats import IterationStats, PrefillStats

    from berry.pipeline.core.events import Sampling, Until
    from berry.pipeline.engines.base import Request
    from berry.pipeline.engines.vllm import samples

    processor = OutputProcessor(None, log_stats=True)
    told: list[step_counts.EngineStep] = []
    counter = step_counts.StepCounter(processor, told.append)
    lengths = {f"r{i}": 3 + i for i in range(6)}
    for name, length in lengths.items():
        settings = samples.params(Request(name, [1] * length, 1, Until(9), Sampling(), seed=0), 0, max_tokens=9)
        open_request(processor, name, [1] * length, settings)
    rng, begun = random.Random(5), set[str]()
    for step in range(12):
        outputs = []
        for name in rng.sample(sorted(lengths), 3):
            first, last = name not in begun, rng.random() < 0.1
            events = [EngineCoreEvent(EngineCoreEventType.PREEMPTED, float(step))] if rng.random() < 0.3 else None
            outputs.append(
                EngineCoreOutput(name, [4] * rng.randrange(1, 3), finish_reason=FinishReason.LENGTH if last else None)
            )
            outputs[-1].events = events
            if first:
                outputs[-1].prefill_stats = PrefillStats(num_prompt_tokens=lengths[name])
            begun.add(name)
        theirs = IterationStats()
        counter.process(outputs, float(step), theirs)
        counter.record()
        found = (told[-1].prompt_tokens, told[-1].generated_tokens, told[-1].preemptions)
        assert found == (theirs.num_prompt_tokens, theirs.num_generation_tokens, theirs.num_preempted_reqs)
    assert len(processor.request_states) < len(lengths)
    assert sum(step.prompt_tokens for step in told) == sum(lengths[name] for name in begun)
    assert sum(step.late_tokens for step in told)
