"""What is changed in vLLM's front end, held against vLLM as it comes. Needs vLLM, and no engine."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines import models
from berry.pipeline.engines.base import Request
from berry.pipeline.engines.vllm import compat, samples
from tests.engines.vllm.core_requests import open_request

pytestmark = [pytest.mark.slow]

TOP, TOKENS = 3, 12


@pytest.fixture
def tokenizer() -> Any:
    compat.load()
    from vllm.tokenizers import get_tokenizer

    return get_tokenizer(models.resolve("tiny-arithmetic"))


def outputs(tokenizer: Any, chosen: list[int], *, stop: tuple[str, ...] = (), wider: int = 0) -> Any:
    """The completion of one request whose engine core draws `chosen`; `wider`: alternatives that others ask for."""
    from vllm.v1.engine import EngineCoreOutput, FinishReason
    from vllm.v1.engine.output_processor import OutputProcessor
    from vllm.v1.outputs import LogprobsLists

    asked = Request("r", [1, 2], 1, Until(len(chosen), stop), Sampling(top_logprobs=TOP), seed=0)
    settings = samples.params(asked, 0, max_tokens=len(chosen))
    processor = OutputProcessor(tokenizer, log_stats=False)
    queue = open_request(processor, "r", [1, 2], settings)
    rng = np.random.default_rng(3)
    for step, token in enumerate(chosen):
        ids = np.array([[token, *rng.permutation(20)[: TOP + wider]]], np.int32)
        values = -rng.exponential(1.0, ids.shape).astype(np.float32)
        last = FinishReason.LENGTH if step == len(chosen) - 1 else None
        found = EngineCoreOutput("r", [token], LogprobsLists(ids, values, np.array([2])), finish_reason=last)
        processor.process_outputs([found], time.monotonic(), None)
    done: Any = queue.get_nowait()
    return done.outputs[0]


@pytest.mark.parametrize("wider", [0, 2])
@pytest.mark.parametrize("stop", [(), ("\n",)])
def test_log_probabilities_without_texts_are_the_same_numbers(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, stop: tuple[str, ...], wider: int
) -> None:
    import vllm.v1.engine.output_processor as module

    output_processor: Any = module
    chosen = [tokenizer.encode(c, add_special_tokens=False)[0] for c in "1234=5\n6789"]
    monkeypatch.setattr(output_processor, "LogprobsProcessor", output_processor.LogprobsProcessor)  # put back later
    as_it_comes = outputs(tokenizer, chosen, stop=stop, wider=wider)
    compat.drop_token_texts()
    compat.drop_token_texts()
    lean = outputs(tokenizer, chosen, stop=stop, wider=wider)
    assert (lean.text, lean.token_ids, lean.finish_reason) == (
        as_it_comes.text,
        as_it_comes.token_ids,
        as_it_comes.finish_reason,
    )
    count = len(lean.token_ids)
    assert count == (7 if stop else len(chosen))
    assert samples.numbers(lean.logprobs, count, TOP) == samples.numbers(as_it_comes.logprobs, count, TOP)
    assert not any(lean.logprobs.decoded_tokens)


def test_a_chosen_token_among_the_likeliest_is_counted_once_where_logits_tie() -> None:
    from types import SimpleNamespace

    half = float(np.log(0.5))
    tied = SimpleNamespace(logprobs=[half, half, half], token_ids=[9, 4, 9], ranks=[1, 1, 2])
    [entropy] = samples.numbers(tied, 1, 2)[1]
    assert entropy == pytest.approx(np.log(2))
    beyond = SimpleNamespace(logprobs=[float(np.log(0.2)), float(np.log(0.4))], token_ids=[9, 4], ranks=[1, 1])
    [entropy] = samples.numbers(beyond, 1, 1)[1]
    assert entropy == pytest.approx(-(0.4 * np.log(0.4) * 2 + 0.2 * np.log(0.2)))
