"""Several servers of one engine: which one a tree is on, what a failure does, and what is refused at the start."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from berry.pipeline.config.sections.engine import HttpEngine
from berry.pipeline.core.events import Completion, Sampling, Until
from berry.pipeline.engines.base import Request
from berry.pipeline.engines.http import checks, servers
from berry.pipeline.engines.http.engine import Http
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.records import Finish

NAMES = ("a", "b", "c")
CONFIG = HttpEngine(
    urls=tuple(f"http://{name}:8000/v1" for name in NAMES),
    model="tiny",
    tokenizer="tiny-arithmetic",
    max_model_len=128,
    patience_s=0.3,
)


class Fleet:
    """Servers by host: `down` ones refuse connections, `on_sample` may answer in place of the usual two tokens, and
    `models` of a host are what it serves."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.asked: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.on_sample: dict[str, Callable[[], httpx.Response | None]] = {}
        self.models: dict[str, list[dict[str, Any]]] = {}
        self.held: asyncio.Event | None = None
        self.tokens: dict[str, list[int]] = {}
        self.keys: set[str] | None = None

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        return httpx.MockTransport(self._answer)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        host, path = request.url.host, request.url.path
        if host in self.down:
            raise httpx.ConnectError("connection refused")
        if self.keys is not None and request.headers.get("authorization", "") not in self.keys:
            return httpx.Response(401, json={"error": "Unauthorized"})
        if path == "/v1/models":
            return httpx.Response(200, json={"data": self.models.get(host, [{"id": "tiny", "max_model_len": 128}])})
        if path == "/tokenize" and host in self.tokens:
            return httpx.Response(200, json={"tokens": self.tokens[host]})
        if path != "/v1/completions":
            return httpx.Response(404)
        self.asked[host].append(json.loads(request.content))
        if self.held is not None:
            await self.held.wait()
            if host in self.down:
                raise httpx.ReadError("connection reset")
        own = self.on_sample.get(host, lambda: None)()
        if own is not None:
            return own
        row = {"tokens": ["token_id:5", "token_id:2"], "token_logprobs": [-0.5, -0.1]}
        choice = {"index": 0, "text": "1", "token_ids": [5, 2], "logprobs": row, "finish_reason": "stop"}
        return httpx.Response(200, text=f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n")


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "POLL_S", 0.05)
    monkeypatch.setattr(servers, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(servers, "LAST_RETRY_S", 0.02)


async def started(fleet: Fleet, config: HttpEngine = CONFIG) -> Http:
    engine = Http(config, transport=fleet.transport)
    await engine.start()
    return engine


NUMBERS = iter(range(10**6))


async def grow(engine: Http, tree: str, n: int = 1) -> list[Completion]:
    request = Request(f"{tree}-{next(NUMBERS)}", [1, 5, 20], n, Until(20), Sampling(), 3, tree=tree)
    return [sample.completion async for sample in engine.generate(request)]


async def test_a_tree_stays_on_one_server_and_trees_are_spread(fleet: Fleet):
    engine = await started(fleet)
    for _ in range(3):
        for tree in range(9):
            await grow(engine, f"tree-{tree}", n=2)
    await engine.close()
    assert {name: len(bodies) for name, bodies in fleet.asked.items()} == dict.fromkeys(NAMES, 18)
    assert engine.info.max_num_seqs == 3 * CONFIG.max_num_seqs


async def test_a_new_tree_goes_where_least_is_asked_for(fleet: Fleet):
    engine = await started(fleet)
    fleet.held = asyncio.Event()
    growing = [asyncio.ensure_future(grow(engine, tree, n)) for tree, n in (("large", 8), ("small", 1), ("middle", 4))]
    while sum(map(len, fleet.asked.values())) < 13:
        await asyncio.sleep(0.001)
    late = asyncio.ensure_future(grow(engine, "late", 2))
    while sum(map(len, fleet.asked.values())) < 15:
        await asyncio.sleep(0.001)
    assert sorted(map(len, fleet.asked.values())) == [3, 4, 8]
    fleet.held.set()
    await asyncio.gather(*growing, late)
    await engine.close()


async def test_trees_of_a_server_that_dies_go_to_the_others_and_nothing_is_lost(fleet: Fleet):
    engine = await started(fleet)
    for tree in range(6):
        await grow(engine, f"tree-{tree}")
    fleet.held = asyncio.Event()
    growing = [asyncio.ensure_future(grow(engine, f"tree-{tree}", 3)) for tree in range(6)]
    while sum(map(len, fleet.asked.values())) < 6 + 18:
        await asyncio.sleep(0.001)
    fleet.down = {"b"}
    fleet.held.set()
    found = [completion for completions in await asyncio.gather(*growing) for completion in completions]
    assert [c.token_ids for c in found] == [(5, 2)] * 18
    before = len(fleet.asked["b"])
    for tree in range(6):
        await grow(engine, f"tree-{tree}")
    assert len(fleet.asked["b"]) == before
    await engine.close()


async def test_a_server_that_comes_back_takes_new_trees(fleet: Fleet):
    engine = await started(fleet)
    fleet.down = {"a", "b"}
    for tree in range(4):
        await grow(engine, f"tree-{tree}")
    assert {"a", "b"}.isdisjoint(fleet.asked)
    fleet.down = set()
    await asyncio.sleep(0.2)
    for tree in range(4, 10):
        await grow(engine, f"tree-{tree}")
    assert set(fleet.asked) == set(NAMES)
    moved = len(fleet.asked["c"])
    for tree in range(4):  # a tree's prefix is where it went
        await grow(engine, f"tree-{tree}")
    assert len(fleet.asked["c"]) == moved + 4
    await engine.close()


async def test_a_server_that_comes_back_with_another_model_stays_away(fleet: Fleet):
    engine = await started(fleet)
    fleet.down = {"a"}
    await grow(engine, "one")
    await grow(engine, "two")
    fleet.models["a"] = [{"id": "other"}]
    fleet.down = set()
    await asyncio.sleep(0.2)
    for tree in range(6):
        await grow(engine, f"tree-{tree}")
    assert "a" not in fleet.asked
    await engine.close()


async def test_samples_wait_for_the_only_server_and_give_up_in_the_end(fleet: Fleet):
    alone = CONFIG.model_copy(update={"urls": CONFIG.urls[:1]})
    engine = await started(fleet, alone)
    fleet.down = {"a"}
    waiting = asyncio.ensure_future(grow(engine, "tree"))
    await asyncio.sleep(0.1)
    fleet.down = set()
    assert [c.finish for c in await waiting] == [Finish.STOP]
    fleet.down = {"a"}
    with pytest.raises(EngineError, match=r"no server has answered for 0.3 s: http://a:8000/v1: .*refused"):
        await grow(engine, "tree")
    await engine.close()


async def test_a_cancelled_sample_waits_for_no_server(fleet: Fleet):
    alone = CONFIG.model_copy(update={"urls": CONFIG.urls[:1], "patience_s": 60.0})
    engine = await started(fleet, alone)
    fleet.down = {"a"}
    request = Request("r", [1, 5, 20], 2, Until(20), Sampling(), 3, tree="tree")

    async def cancel() -> None:
        await asyncio.sleep(0.05)
        await engine.cancel("r")

    stopping = asyncio.ensure_future(cancel())
    assert [s.completion.finish async for s in engine.generate(request)] == [Finish.CANCELLED] * 2
    await stopping
    await engine.close()


async def test_a_failure_that_is_the_request_s_own_ends_in_an_error_that_says_it(fleet: Fleet):
    engine = await started(fleet)
    for name in NAMES:
        fleet.on_sample[name] = lambda: httpx.Response(500, text="assertion failed")
    with pytest.raises(EngineError, match=r"a sample failed 6 times, last at .*500: assertion failed"):
        await grow(engine, "tree")
    for name in NAMES:
        fleet.on_sample[name] = lambda: httpx.Response(400, text="too long")
    with pytest.raises(EngineError, match="answers 400: too long"):
        await grow(engine, "tree")
    await engine.close()


async def test_a_busy_server_is_asked_again_when_it_says(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    engine = await started(fleet, CONFIG.model_copy(update={"urls": CONFIG.urls[:1]}))
    replies = [httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(429), None]
    fleet.on_sample["a"] = lambda: replies.pop(0)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert [c.finish for c in await grow(engine, "tree")] == [Finish.STOP]
    assert [s for s in slept if s] == [7.0, 1.0]  # as it says, then the second of our own
    monkeypatch.undo()
    await engine.close()


# ---- what is refused at the start -----------------------------------------------------------------------------------


async def refused(fleet: Fleet, config: HttpEngine = CONFIG) -> str:
    with pytest.raises((ConfigError, EngineError)) as found:
        await started(fleet, config)
    return str(found.value)


async def test_every_server_that_does_not_answer_has_its_line(fleet: Fleet):
    fleet.down = {"a", "c"}
    first, second = (await refused(fleet)).splitlines()
    assert first == "no vllm server answers at http://a:8000/v1 (engine.url): connection refused"
    assert "http://c:8000/v1" in second


async def test_a_wrong_key_and_a_missing_one_are_told_apart(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    fleet.keys = {"Bearer right"}
    alone = CONFIG.model_copy(update={"urls": CONFIG.urls[:1]})
    assert "wants a key (401): name the variable that holds it as engine.api_key_env" in await refused(fleet, alone)
    monkeypatch.setenv("SERVER_KEY", "wrong")
    keyed = alone.model_copy(update={"api_key_env": "SERVER_KEY"})
    said = await refused(fleet, keyed)
    assert said == "the server at http://a:8000/v1 refuses the key in SERVER_KEY (401): engine.api_key_env"
    monkeypatch.setenv("SERVER_KEY", "right")
    await (await started(fleet, keyed)).close()


async def test_a_model_that_one_server_lacks_is_named_with_what_it_has(fleet: Fleet):
    fleet.models["b"] = [{"id": f"model-{i}"} for i in range(20)] + [{"id": "tiny-2"}]
    said = await refused(fleet)
    assert said.startswith("engine.model 'tiny' is not served at http://b:8000/v1; served: tiny-2, ")
    assert said.endswith(" and 13 more")


async def test_servers_of_different_contexts_are_refused(fleet: Fleet):
    fleet.models["c"] = [{"id": "tiny", "max_model_len": 256}]
    said = await refused(fleet)
    assert "different context lengths: 128 at http://a:8000/v1, 128 at http://b:8000/v1, 256 at http://c" in said


async def test_a_server_with_another_tokenizer_is_refused(fleet: Fleet):
    fleet.tokens["b"] = [1, 2, 3]
    said = await refused(fleet)
    assert said.startswith(
        "engine.tokenizer 'tiny-arithmetic' gives other token ids than the server at http://b:8000/v1"
    )


def test_a_dead_server_is_told_before_anything_is_started():
    with pytest.raises(EngineError, match=r"no vllm server answers at http://127.0.0.1:1/v1"):
        checks.preflight(HttpEngine(url="http://127.0.0.1:1/v1", model="tiny"))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "set either url, or urls"),
        ({"url": "http://a", "urls": ("http://b",)}, "not both"),
        ({"urls": ("http://a", "http://a")}, "twice"),
        ({"url": "ftp://a"}, "pattern"),
    ],
)
def test_addresses_that_can_t_be(keys: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=says):
        HttpEngine(model="m", **keys)
