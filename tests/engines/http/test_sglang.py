"""SGLang's dialect: what is asked for, and answers in each of the forms that servers give them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines.http.dialect import SampleRequest, ServerFailedError
from berry.pipeline.engines.http.sglang import GenerateReply, NativeGenerate
from berry.pipeline.errors import EngineError
from berry.pipeline.records import Finish


def answer(ids: list[int], total: int, reason: Any = None, **told: Any) -> str:
    rows = [[-0.5 * i, i, None] for i in ids]
    meta = {"output_token_logprobs": rows, "completion_tokens": total, "finish_reason": reason, **told}
    return json.dumps({"text": "…", "output_ids": ids, "meta_info": meta})


def read(*lines: str) -> GenerateReply:
    reply = GenerateReply()
    for line in lines:
        reply.feed(line)
    return reply


def test_the_body_asks_for_ids_log_probabilities_and_the_stop_strings_tokens():
    asked = SampleRequest("r", (1, 2), Until(9, ("\n",)), Sampling(0.7, top_logprobs=3), 4, 8, [7], stream=False)
    body = NativeGenerate().body("m", asked)
    assert (body["rid"], body["input_ids"], body["stream"], body["return_logprob"]) == ("r", [1, 2], False, True)
    assert body["top_logprobs_num"] == 3
    assert body["sampling_params"] == {
        "max_new_tokens": 8,
        "temperature": 0.7,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "sampling_seed": 4,
        "stop": ["\n"],
        "stop_token_ids": [7],
        "no_stop_trim": True,
    }


STOP = {"type": "stop", "matched": 2}


@pytest.mark.parametrize(
    "lines",
    [
        (answer([5, 6, 2], 3, STOP),),
        ("data: " + answer([5], 1), "", "data: " + answer([5, 6], 2), "data: " + answer([5, 6, 2], 3, STOP)),
        ("data: " + answer([5], 1), "data: " + answer([6, 2], 3, STOP), "data: [DONE]"),
        ("data: " + answer([5, 6], 2), "data: " + answer([2], 3, STOP), "data: [DONE]"),
    ],
    ids=["whole", "all so far", "what is new", "more than half at first"],
)
def test_all_forms_of_an_answer_are_the_same(lines: tuple[str, ...]):
    reply = read(*lines)
    assert reply.token_ids == [5, 6, 2]
    assert reply.logprobs == [-2.5, -3.0, -1.0]
    assert reply.finish(()) is Finish.STOP


def test_lost_tokens_are_found():
    with pytest.raises(EngineError, match="counts 4 tokens, and has sent 1 and then 2"):
        read(answer([5], 1), answer([6, 7], 4))


def test_ends_are_told_apart():
    assert read(answer([5], 1, {"type": "length", "length": 1})).finish(()) is Finish.LENGTH
    assert read(answer([5], 1, {"type": "stop", "matched": "\n"})).finish(("\n",)) is Finish.STEP
    assert read(answer([7], 1, {"type": "stop", "matched": 7})).finish((), [7]) is Finish.STEP
    assert read(answer([5], 1, "length")).finish(()) is Finish.LENGTH  # as early releases said it


def test_an_abort_is_the_server_s_failure_or_the_request_s_fault():
    with pytest.raises(ServerFailedError, match="shutting down"):
        read(answer([5], 1, {"type": "abort", "message": "shutting down", "status_code": 503})).finish(())
    with pytest.raises(EngineError, match="too long"):
        read(answer([], 0, {"type": "abort", "message": "too long", "status_code": 400})).finish(())


def test_versions_cache_and_entropies_are_read():
    top = [[[-0.6931471805599453, 5, None], [-0.6931471805599453, 6, None]]]
    reply = read(answer([5], 1, STOP, weight_version="v3", cached_tokens=16, output_top_logprobs=top))
    assert (reply.weights_version, reply.cached_tokens) == ("v3", 16)
    assert reply.entropies(1) == pytest.approx((0.6931471805599453,))
    assert read(answer([5], 1, STOP, weight_version="default")).weights_version == ""


def test_a_server_without_log_probabilities_is_refused():
    with pytest.raises(EngineError, match="output_token_logprobs"):
        read(json.dumps({"text": "1", "meta_info": {"completion_tokens": 1}}))
    with pytest.raises(EngineError, match="input is too long"):
        read('data: {"error": {"message": "input is too long"}}')
