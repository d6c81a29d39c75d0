"""What is kept past vLLM's front end is what vLLM keeps. Needs vLLM, and no engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines import models
from berry.pipeline.engines.base import Request
from berry.pipeline.engines.vllm import compat, samples, step_counts, wire
from tests.engines.vllm.core_requests import open_request

pytestmark = [pytest.mark.slow]

STEPS, TOP = 9, 2


def finals(*, quick: bool, stop: tuple[str, ...], wider: int, logged: bool, abort: bool) -> tuple[list[Any], int]:
    """Finished outputs of three requests, and how many outputs of the engine core vLLM was given."""
    compat.load()
    from vllm.tokenizers import get_tokenizer
    from vllm.v1.engine import EngineCoreOutput, FinishReason
    from vllm.v1.engine.output_processor import OutputProcessor

    compat.drop_token_texts()
    processor: Any = OutputProcessor(get_tokenizer(models.resolve("tiny-arithmetic")), log_stats=False)
    given = 0
    own = processor.process_outputs

    def counting(outputs: Any, *arguments: Any, **named: Any) -> Any:
        nonlocal given
        given += len(outputs)
        return own(outputs, *arguments, **named)

    processor.process_outputs = counting
    process = step_counts.StepCounter(processor, lambda _: None).process if quick else counting
    queues: dict[str, Any] = {}
    for name in "abc":
        asked = Request(name, [1, 2], 1, Until(STEPS, stop), Sampling(top_logprobs=TOP), seed=0)
        settings = samples.params(asked, 0, max_tokens=STEPS)
        if not logged:
            settings.logprobs = None
        queues[name] = open_request(processor, name, [1, 2], settings)
    rng = np.random.default_rng(4)
    for step in range(STEPS):
        found = []
        for place, name in enumerate("abc"):
            ids = rng.integers(3, 15, (1, 1 + TOP + wider)).astype(np.int32)
            rows: Any = wire.plain(ids, -rng.exponential(1.0, ids.shape).astype(np.float32))
            ends = step == STEPS - 1 - place
            if step <= STEPS - 1 - place:
                reason = FinishReason.LENGTH if ends and not (abort and name == "b") else None
                found.append(EngineCoreOutput(name, [int(ids[0, 0])], rows if logged else None, finish_reason=reason))
        process(found, 0.0, None)
    if abort:
        processor.abort_requests(["b"], internal=True)
    return [queue.get_nowait().outputs[0] for queue in queues.values()], given


@pytest.mark.parametrize("abort", [False, True])
@pytest.mark.parametrize(("stop", "logged"), [((), True), ((), False), (("never met",), True)])
@pytest.mark.parametrize("wider", [0, 2])
def test_tokens_and_numbers_are_those_that_vllm_keeps(
    monkeypatch: pytest.MonkeyPatch, stop: tuple[str, ...], *, logged: bool, wider: int, abort: bool
) -> None:
    compat.load()
    import vllm.v1.engine.output_processor as module

    output_processor: Any = module
    monkeypatch.setattr(output_processor, "LogprobsProcessor", output_processor.LogprobsProcessor)  # put back later
    theirs, all_given = finals(quick=False, stop=stop, wider=wider, logged=logged, abort=abort)
    ours, given = finals(quick=True, stop=stop, wider=wider, logged=logged, abort=abort)
    assert [o.finish_reason for o in ours] == ["length", "abort" if abort else "length", "length"]
    for mine, own in zip(ours, theirs, strict=True):
        assert (mine.token_ids, mine.text, mine.finish_reason) == (own.token_ids, own.text, own.finish_reason)
        count = len(own.token_ids)
        assert samples.numbers(mine.logprobs, count, TOP) == samples.numbers(own.logprobs, count, TOP)
    assert given == (all_given if stop else 6 - abort), "the first and the last of each is vLLM's"
