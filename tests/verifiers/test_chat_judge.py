"""The judge behind a chat server: what it is sent, what comes back, and a server that fails."""

from __future__ import annotations

import json

import httpx
import pytest

from berry.verifiers import chat_judge
from berry.verifiers.base import Reason
from berry.verifiers.chat_judge import ChatJudge
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig, JudgeConfig
from berry.verifiers.context import JudgeUnavailable
from berry.verifiers.specs.union import ModelSpec

CONFIG = JudgeConfig(url="http://judge:8000/v1", model="m", at_once=2)
CHAT = [{"role": "user", "content": "Is it polite?"}]


def saying(text: object) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": {"content": text}}]})


@pytest.fixture(autouse=True)
def hurried(monkeypatch) -> None:
    monkeypatch.setattr(chat_judge, "BACKOFF_S", (0.0, 0.0))


async def test_each_vote_is_a_request_with_a_seed_of_its_own() -> None:
    bodies = []

    def serve(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/chat/completions"
        bodies.append(json.loads(request.content))
        return saying(f"VERDICT: {'CORRECT' if bodies[-1]['seed'] % 2 else 'INCORRECT'}")

    judge = ChatJudge(CONFIG, transport=httpx.MockTransport(serve))
    answers = await judge(CHAT, n=3, seed=7)
    await judge.close()
    assert [a.rpartition(" ")[2] for a in answers] == ["CORRECT", "INCORRECT", "CORRECT"]
    assert sorted(b["seed"] for b in bodies) == [7, 8, 9]
    assert bodies[0] | {"seed": 0} == {
        "model": "m",
        "messages": CHAT,
        "max_tokens": 1024,
        "temperature": 0.7,
        "seed": 0,
    }


async def test_a_server_that_is_busy_is_asked_again() -> None:
    replies = [httpx.Response(503), httpx.Response(429), saying("VERDICT: CORRECT")]
    judge = ChatJudge(CONFIG, transport=httpx.MockTransport(lambda _: replies.pop(0)))
    assert await judge(CHAT, n=1, seed=0) == ["VERDICT: CORRECT"]


def refuses(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def dawdles(_: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("")


@pytest.mark.parametrize(
    ("serve", "says"),
    [
        (lambda _: httpx.Response(500, text="broken"), "500"),
        (lambda _: httpx.Response(404, text="no such model"), "no such model"),
        (lambda _: httpx.Response(200, text="hello"), "no chat completion"),
        (lambda _: httpx.Response(200, json={"choices": []}), "no chat completion"),
        (refuses, "refused"),
        (dawdles, "in time"),
    ],
)
async def test_what_fails_is_the_judges_fault(serve, says) -> None:
    with pytest.raises(JudgeUnavailable, match=says):
        await ChatJudge(CONFIG, transport=httpx.MockTransport(serve))(CHAT, n=2, seed=0)


async def test_silence_is_an_abstention_and_a_missing_key_is_named() -> None:
    assert await ChatJudge(CONFIG, transport=httpx.MockTransport(lambda _: saying(None)))(CHAT, n=1, seed=0) == [""]
    keyed = CONFIG.model_copy(update={"api_key_env": "NO_SUCH_KEY"})
    with pytest.raises(JudgeUnavailable, match="NO_SUCH_KEY"):
        await ChatJudge(keyed, transport=httpx.MockTransport(lambda _: saying("")))(CHAT, n=1, seed=0)


async def test_a_checker_makes_its_judge_from_its_configuration() -> None:
    config = CheckerConfig(slots=1, judge=JudgeConfig(url="http://127.0.0.1:1/v1", model="m"))
    checker = Checker(config)
    found = await checker.check(CheckRequest("p", ModelSpec(rubric="polite"), "Dear all"))
    await checker.close()
    assert found.reason is Reason.NO_JUDGE
    assert "127.0.0.1:1" in found.evidence["note"]
