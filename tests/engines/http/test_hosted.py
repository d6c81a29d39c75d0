"""The engine on a hosted chat API: what is asked, counted and refused, and runs against a server that answers sums."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from starlette.responses import JSONResponse
from typer.testing import CliRunner

from berry.pipeline.cli import app
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import HttpEngine, TokenPrice
from berry.pipeline.core.events import Completion, Sampling, Until
from berry.pipeline.engines.base import Engine, Request
from berry.pipeline.engines.http import hosted
from berry.pipeline.engines.http.exchange import retry_after_s
from berry.pipeline.engines.http.hosted import Hosted
from berry.pipeline.engines.http.limits import MinuteLimit
from berry.pipeline.errors import ConfigError, EngineError, InputError
from berry.pipeline.records import NO_ID, Finish
from tests.engines.http.chat_server import ChatServer
from tests.engines.http.served import Served

PRICE = TokenPrice(prompt_usd=2.0, cached_usd=0.5, completion_usd=10.0)
CONFIG = HttpEngine(
    url="http://api/v1", dialect="chat", model="adder-large", api_key_env="ADDER_KEY", price=PRICE, max_retries=3
)
ASKED = [{"role": "user", "content": "What is 12 + 30?"}]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADDER_KEY", "right")
    monkeypatch.setattr(hosted, "BACKOFF_S", (0.001, 0.002))


@pytest.fixture
def server() -> ChatServer:
    return ChatServer()


async def started(server: ChatServer, config: HttpEngine = CONFIG) -> Hosted:
    engine = Hosted(config, transport=httpx.ASGITransport(server.app()))
    await engine.start()
    return engine


async def draw(engine: Hosted, n: int = 1, until: Until | None = None) -> list[Completion]:
    request = Request("r", [], n, until or Until(50), Sampling(temperature=0.7), 7, messages=ASKED)
    found = {sample.index: sample.completion async for sample in engine.generate(request)}
    return [found[index] for index in range(n)]


async def test_answers_are_texts_whose_tokens_are_counted_and_not_named(server: ChatServer):
    engine = await started(server)
    assert isinstance(engine, Engine)
    assert engine.info.text_alone
    first, _ = await draw(engine, n=2)
    assert first.text.startswith("<think>\n[12, 30] makes 4")
    assert "The answer is 4" in first.text
    assert first.token_ids == (NO_ID,) * 20
    assert (first.logprobs, first.finish) == ((), Finish.STOP)
    bodies = sorted(server.asked, key=lambda body: body["seed"])
    assert [body["seed"] for body in bodies] == [7, 8]
    assert bodies[0] == {
        "model": "adder-large",
        "messages": ASKED,
        "max_tokens": 50,
        "temperature": 0.7,
        "seed": 7,
    }
    await engine.close()


async def test_usage_and_cost_are_the_api_s_own_counts(server: ChatServer):
    engine = await started(server)
    await draw(engine, n=3)
    counters = engine.counters()
    assert (counters.requests, counters.retries) == (3, 0)
    assert (counters.prompt_tokens, counters.cached_tokens) == (15, 3)
    assert (counters.generated_tokens, counters.reasoning_tokens) == (60, 24)
    assert counters.cost_usd == pytest.approx((12 * 2.0 + 3 * 0.5 + 60 * 10.0) / 1e6)
    await engine.close()


async def test_keys_of_a_request_can_be_added_and_taken_away(server: ChatServer):
    body = {"seed": None, "max_tokens": None, "max_completion_tokens": 9, "reasoning_effort": "low"}
    engine = Hosted(CONFIG.model_copy(update={"extra_body": body, "keep_reasoning": False}))
    request = Request("r", [], 1, Until(50), Sampling(), 7, messages=ASKED)
    made = engine._body(request, 0)
    assert made.keys() == {"model", "messages", "temperature", "max_completion_tokens", "reasoning_effort"}


async def test_a_busy_api_is_asked_again_when_it_says_and_the_others_wait_too(server: ChatServer):
    replies = [JSONResponse({}, 429, {"retry-after": "0.2"}), JSONResponse({}, 503), None, None]
    server.before = lambda _: replies.pop(0)
    engine = await started(server, CONFIG.model_copy(update={"max_num_seqs": 1}))
    began = asyncio.get_running_loop().time()
    assert len(await draw(engine, n=2)) == 2
    assert asyncio.get_running_loop().time() - began >= 0.2
    assert (engine.counters().requests, engine.counters().retries) == (4, 2)
    await engine.close()


@pytest.mark.parametrize(
    ("status", "body", "says", "asked"),
    [
        (500, {"error": "boom"}, "boom.*4 times", 4),
        (429, {"error": {"code": "insufficient_quota"}}, "insufficient_quota", 1),
        (400, {"error": "no such key: seed"}, "no such key: seed", 1),
        (200, {"choices": []}, "no chat completion with its usage", 1),
        (200, {"choices": [{"message": {"content": "42"}}]}, "no chat completion with its usage", 1),
    ],
)
async def test_what_stays_wrong_is_an_error_with_the_api_s_words(
    server: ChatServer, status: int, body: Any, says: str, asked: int
):
    server.before = lambda _: JSONResponse(body, status)
    engine = await started(server)
    with pytest.raises(EngineError, match=says):
        await draw(engine)
    assert len(server.asked) == asked
    await engine.close()


async def test_ends_are_told_apart(server: ChatServer):
    def cut(body: dict[str, Any]) -> JSONResponse:
        answer = server.answer(body)
        answer["choices"][0] |= {"finish_reason": "length", "message": {"content": None}}
        return JSONResponse(answer)

    server.before = cut
    engine = await started(server)
    (completion,) = await draw(engine)
    assert (completion.text, completion.finish, len(completion.token_ids)) == ("", Finish.LENGTH, 20)
    with pytest.raises(EngineError, match="whole samples alone"):
        await draw(engine, until=Until(50, ("\n",)))
    with pytest.raises(ConfigError, match="no token ids"):
        engine.encode_text("a tool's result")
    await engine.close()


async def test_a_cancelled_request_ends_at_once(server: ChatServer):
    engine = await started(server, CONFIG.model_copy(update={"requests_per_minute": 2}))
    drawing = asyncio.ensure_future(draw(engine, n=5))  # two, and three that wait for the next minute
    while len(server.asked) < 2:
        await asyncio.sleep(0.001)
    await engine.cancel("r")
    found = await drawing
    assert sum(c.finish is Finish.CANCELLED for c in found) >= 3
    await engine.close()


# ---- limits ---------------------------------------------------------------------------------------------------------


async def test_no_minute_holds_more_than_the_limit(monkeypatch: pytest.MonkeyPatch):
    now, took = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    limit = MinuteLimit(100, clock=lambda: now)
    for number in range(40):
        amount = 7 + 13 * (number % 3)
        await limit.take(amount)
        took.append((now, amount))
        now += number % 4
    for at, _ in took:
        assert sum(amount for when, amount in took if at - 60 < when <= at) <= 100
    assert now <= 60 * sum(amount for _, amount in took) / 100 * 1.5  # and it is not far below it


async def test_what_was_reserved_too_much_is_given_back():
    limit = MinuteLimit(100, clock=lambda: 0.0)
    taken = await limit.take(90)
    assert limit.wait_s(20) == 60.0
    limit.correct(taken, 10)
    assert limit.wait_s(20) == 0.0
    assert (await MinuteLimit(10).take(1000)).amount == 10  # more than a minute's worth takes a whole minute


def test_retry_after_in_both_its_forms():
    assert retry_after_s("3") == 3.0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after_s("soon") is None
    assert retry_after_s(None) is None


# ---- what a run with it may ask -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rollout": {"policy": {"type": "beam"}}}, "policy of type beam .use best_of_n."),
        ({"rollout": {"sampling": {"top_k": 5}}}, "top_k"),
        ({"rollout": {"tools": [{"type": "python"}]}}, "rollout.tools"),
        ({"rewards": {"prm": {"model": "tiny"}}}, "reward model"),
        ({"engine": {"tokenizer": "tiny"}}, "reads no tokenizer"),
        ({"engine": {"urls": ["http://a", "http://b"], "url": None}}, "takes one url"),
        ({"engine": {"dialect": "vllm"}}, "requests_per_minute is for dialect chat"),
        ({"recompute": {"share": 0.1}}, "recompute.share"),
    ],
)
def test_what_needs_token_ids_is_refused_before_the_start(change: dict[str, Any], says: str):
    engine = {"type": "http", "dialect": "chat", "url": "http://a", "model": "m", "requests_per_minute": 5}
    raw: dict[str, Any] = {
        "name": "x",
        "problems": [{"type": "arithmetic", "count": 1}],
        **change,
        "engine": {**engine, **change.get("engine", {})},
    }
    with pytest.raises(ValueError, match=says):
        RunConfig.model_validate(raw)


@pytest.fixture
def api() -> Iterator[tuple[ChatServer, str]]:
    server = ChatServer()
    served = Served(server.app())
    served.start()
    yield server, f"{served.url}/v1"
    served.stop()


def berry(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_a_run_on_a_hosted_api_from_problems_to_exports(api: tuple[ChatServer, str], tmp_path: Path):
    _, url = api
    problems = tmp_path / "problems.jsonl"
    rows = [
        {"id": f"p{i}", "prompt": f"What is {i} + {2 * i}?", "verifier": {"type": "math", "answer": str(3 * i)}}
        for i in range(1, 7)
    ]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tmp_path / "hosted.yaml"
    config.write_text(f"""
name: hosted
problems: [{{type: file, path: {problems}}}]
engine:
  {{type: http, dialect: chat, url: "{url}", model: adder-large, api_key_env: ADDER_KEY,
    price: {{prompt_usd: 2, completion_usd: 10}}}}
rollout: {{policy: {{type: best_of_n, n: 4}}, thinking: {{}}, sampling: {{max_tokens: 64}}}}
storage: {{root: {tmp_path}/runs}}
report: false
""")
    planned = berry("plan", str(config), "engine.requests_per_minute=12")
    assert "requests 24" in planned
    assert "at least 0.03 h: engine.requests_per_minute binds" in planned
    said = berry("run", str(config), "--local")
    run = str(tmp_path / "runs" / "hosted")
    assert "24 requests, 0 of them again" in said
    assert "480 generated (192 of reasoning)" in said
    assert "cost" in said
    figures = json.loads((tmp_path / "runs/hosted/metrics/run.json").read_text())
    assert figures["cost_usd"] == pytest.approx((24 * 5 * 2 + 480 * 10) / 1e6)
    kept = pq.ParquetDataset(str(tmp_path / "runs/hosted/round=0/kept")).read().to_pylist()
    assert kept
    for row in kept:
        assert (row["token_ids"], row["prompt_token_ids"], row["logprobs"], row["template_hash"]) == (None,) * 4
        assert row["response"].startswith("<think>")
        assert row["messages"][0]["content"].startswith("What is")
    nodes = pq.ParquetDataset(str(tmp_path / "runs/hosted/round=0/nodes")).read().to_pylist()
    assert {tuple(n["token_ids"]) for n in nodes} == {(), (NO_ID,) * 20}
    berry("check", run)
    for form in ("sft", "dpo", "pairs", "orm"):
        berry("export", run, "--format", form, "-o", str(tmp_path / form))
    for words in (("--format", "rl"), ("--format", "sft", "--tokens")):
        result = CliRunner().invoke(app, ["export", run, *words, "-o", str(tmp_path / "no")])
        assert isinstance(result.exception, InputError)
        assert "text alone, without token ids" in str(result.exception)
    berry("inspect", run)
    berry("show", run, "p1")
    berry("reprune", run, "pruning=[{type: verdict}, {type: shortest, k: 1}]", "--as", "short")
