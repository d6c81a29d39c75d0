"""The HTTP engine's protocol, without a server: recorded streams, refusals and errors."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from berry.pipeline.config.sections.engine import HttpEngine
from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines.base import Request
from berry.pipeline.engines.http.completions import Completions, EventStream
from berry.pipeline.engines.http.dialect import SampleRequest
from berry.pipeline.engines.http.engine import Http
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.records import Finish

CONFIG = HttpEngine(
    url="http://server/v1", model="tiny", tokenizer="tiny-arithmetic", max_model_len=128, patience_s=0.2
)


def event(**choice: Any) -> str:
    return "data: " + json.dumps({"choices": [{"index": 0, "text": "", **choice}]})


def tokens(*ids: int, text: str = "", **rest: Any) -> str:
    row = {"tokens": [f"token_id:{i}" for i in ids], "token_logprobs": [-0.5] * len(ids)}
    return event(text=text, token_ids=list(ids), logprobs={**row, **rest.pop("logprobs", {})}, **rest)


def served(*lines: str, models: Any = None, status: int = 200) -> httpx.MockTransport:
    """A server that answers every completion with `lines`."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": models or [{"id": "tiny", "max_model_len": 256}]})
        if request.url.path != "/v1/completions":
            return httpx.Response(404)
        return httpx.Response(status, text="\n\n".join(lines) + "\n\n")

    return httpx.MockTransport(answer)


async def complete(transport: httpx.MockTransport, until: Until, sampling: Sampling | None = None) -> Any:
    engine = Http(CONFIG, transport=transport)
    await engine.start()
    try:
        request = Request("r", [1, 5, 20], 1, until, sampling or Sampling(), 3)
        (completion,) = [s.completion async for s in engine.generate(request)]
        return completion
    finally:
        await engine.close()


async def test_a_stream_becomes_a_completion():
    usage = 'data: {"choices": [], "usage": {"prompt_tokens_details": {"cached_tokens": 2}}}'
    lines = [tokens(5, 14), tokens(6), tokens(2, finish_reason="stop"), usage, "data: [DONE]"]
    done = await complete(served(*lines), Until(50))
    assert done.token_ids == (5, 14, 6, 2)
    assert done.text == "1+2"
    assert done.finish is Finish.STOP
    assert done.logprobs == (-0.5,) * 4
    assert done.cached_tokens == 2


async def test_a_named_stop_string_is_a_step():
    line = tokens(5, 21, text="1\n", finish_reason="stop", stop_reason="\n")
    assert (await complete(served(line), Until(50, ("\n",)))).finish is Finish.STEP


async def test_a_server_that_names_no_stop_string_is_judged_by_the_text():
    stopped = tokens(5, 20, text="1\n", finish_reason="stop")
    assert (await complete(served(stopped), Until(50, ("\n",)))).finish is Finish.STEP
    ended = tokens(5, 2, text="1", finish_reason="stop")
    assert (await complete(served(ended), Until(50, ("\n",)))).finish is Finish.STOP


async def test_token_ids_may_come_as_names_only():
    line = event(text="1", logprobs={"tokens": ["token_id:5"], "token_logprobs": [-0.1]}, finish_reason="length")
    done = await complete(served(line), Until(1))
    assert (done.token_ids, done.finish) == ((5,), Finish.LENGTH)


async def test_a_server_without_token_ids_is_refused():
    line = event(text="1", logprobs={"tokens": ["1"], "token_logprobs": [-0.1]}, finish_reason="length")
    with pytest.raises(EngineError, match="return_token_ids"):
        await complete(served(line), Until(1))


async def test_entropies_are_estimated_from_the_top_tokens():
    top = [{"token_id:5": -0.6931471805599453, "token_id:6": -0.6931471805599453}]
    line = tokens(5, text="1", logprobs={"top_logprobs": top}, finish_reason="length")
    done = await complete(served(line), Until(1), Sampling(top_logprobs=2))
    assert done.entropies == pytest.approx([0.6931471805599453])


async def test_an_error_in_the_stream_and_a_bad_status_are_engine_errors():
    broken = 'data: {"error": {"message": "out of memory"}}'
    with pytest.raises(EngineError, match="out of memory"):
        await complete(served(tokens(5), broken), Until(5))
    with pytest.raises(EngineError, match="400"):
        await complete(served("no such thing", status=400), Until(5))


async def test_an_unserved_model_and_a_short_context_are_refused_at_the_start():
    with pytest.raises(ConfigError, match=r"'tiny' is not served .*other"):
        await Http(CONFIG, transport=served(models=[{"id": "other"}])).start()
    with pytest.raises(ConfigError, match="at most 64"):
        await Http(CONFIG, transport=served(models=[{"id": "tiny", "max_model_len": 64}])).start()


async def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        await Http(CONFIG.model_copy(update={"api_key_env": "NO_SUCH_KEY"})).start()


def test_the_body_asks_for_tokens_back():
    made = Completions().body("m", SampleRequest("r", (1, 2), Until(9, ("\n",)), Sampling(top_logprobs=3), 4, 9))
    assert made["prompt"] == [1, 2]
    assert (made["return_token_ids"], made["stream"], made["logprobs"], made["seed"]) == (True, True, 3, 4)
    assert made["top_k"] == -1
    assert "stop_token_ids" not in made
    stopped = Completions().body("m", SampleRequest("r", (1,), Until(9), Sampling(), 4, 9, stop_ids=[7]))
    assert stopped["stop_token_ids"] == [7]


def test_a_delimiter_that_is_a_control_token_ends_a_step_and_another_token_the_answer():
    reading = EventStream(finish_reason="stop", stop_reason=7)
    assert reading.finish((), [7]) is Finish.STEP
    assert reading.finish((), [8]) is Finish.STOP


def test_comments_and_blank_lines_are_passed_over():
    reading = EventStream()
    assert not reading.feed("")
    assert not reading.feed(": keep-alive")
    assert not reading.feed("data: [DONE]")
