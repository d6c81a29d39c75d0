"""Asks a judge model behind an OpenAI-compatible chat server (`vllm serve`, or any other): `verification.judge`
and `verification.judges`.

    messages ─► n requests, sample i with seed + i ─► n answers

Refused connections, 429 and 5xx are tried again; what still fails is JudgeUnavailable, and so UNVERIFIABLE.
"""

from __future__ import annotations

import asyncio
import os

import httpx

from berry.verifiers.config import JudgeConfig
from berry.verifiers.context import JudgeUnavailable, Messages

CONNECT_S = 10.0
BACKOFF_S = (0.5, 2.0)
_BUSY = 429


class ChatJudge:
    """Samples judgements from the server that `config` names. `place`: its key, for messages. `transport`
    replaces the network, for tests."""

    def __init__(
        self, config: JudgeConfig, *, place: str = "judge", transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._config, self._place = config, place
        self._client = httpx.AsyncClient(
            base_url=config.url.rstrip("/"),
            transport=transport,
            timeout=httpx.Timeout(config.timeout_s, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=config.at_once),
        )
        self._room = asyncio.Semaphore(config.at_once)

    async def __call__(self, messages: Messages, *, n: int, seed: int) -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._vote(messages, seed + i)) for i in range(n)]
        answers = [task.result() for task in tasks]
        for answer in answers:
            if isinstance(answer, JudgeUnavailable):
                raise answer
        return [answer for answer in answers if isinstance(answer, str)]

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _vote(self, messages: Messages, seed: int) -> str | JudgeUnavailable:
        body = {
            "model": self._config.model,
            "messages": list(messages),
            "max_tokens": self._config.max_tokens,
            "temperature": self._config.temperature,
            "seed": seed % 2**31,
        }
        async with self._room:
            try:
                return await self._ask(body)
            except JudgeUnavailable as fault:
                return fault

    async def _ask(self, body: dict[str, object]) -> str:
        headers, problem = self._headers(), ""
        for wait_s in (*BACKOFF_S, None):
            try:
                reply = await self._client.post("/chat/completions", json=body, headers=headers)
            except httpx.TimeoutException as error:
                raise JudgeUnavailable(f"{self._config.url} gave no answer in time") from error
            except httpx.HTTPError as error:
                problem = str(error) or type(error).__name__
            else:
                if reply.status_code == httpx.codes.OK:
                    return _text(reply)
                problem = f"HTTP status {reply.status_code}: {reply.text[:200]}"
                if reply.status_code != _BUSY and reply.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    break
            if wait_s is not None:
                await asyncio.sleep(wait_s)
        raise JudgeUnavailable(f"{self._config.url}: {problem}")

    def _headers(self) -> dict[str, str]:
        name = self._config.api_key_env
        if name is None:
            return {}
        if not os.environ.get(name):
            raise JudgeUnavailable(f"{self._place}.api_key_env: the environment variable {name} is not set")
        return {"Authorization": f"Bearer {os.environ[name]}"}


def _text(reply: httpx.Response) -> str:
    try:
        text = reply.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError) as fault:
        raise JudgeUnavailable(f"the server's answer is no chat completion: {reply.text[:200]}") from fault
    return text if isinstance(text, str) else ""  # a model may think to the end of its tokens and say nothing
