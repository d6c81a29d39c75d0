"""A hosted chat API of the tests: answers sums over real sockets, counts tokens, and is busy when told to."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY = "Bearer right"


@dataclass
class ChatServer:
    """`before` may answer a request in place of the model; `asked` holds the bodies so far, `pass_rate` the chance of a
    right sum, drawn by the request's seed."""

    pass_rate: float = 0.5
    before: Callable[[dict[str, Any]], Response | None] = lambda _: None
    asked: list[dict[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[Route("/v1/models", self._models), Route("/v1/chat/completions", self._chat, methods=["POST"])]
        )

    async def _models(self, request: Request) -> Response:
        if request.headers.get("authorization") != KEY:
            return JSONResponse({"error": {"message": "Incorrect API key provided"}}, 401)
        return JSONResponse({"data": [{"id": "adder-large"}, {"id": "adder-small"}]})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        own = self.before(body)
        return own if own is not None else JSONResponse(self.answer(body))

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """A reply as OpenAI's reference has it, with reasoning as several providers give it."""
        asked = body["messages"][-1]["content"]
        numbers = [int(number) for number in re.findall(r"-?\d+", asked)]
        drawn = random.Random(body["seed"])
        total = sum(numbers) if drawn.random() < self.pass_rate else sum(numbers) + 1
        text = f"I add them up.\n\nThe answer is {total}."
        return {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "reasoning_content": f"{numbers} makes {total}"},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": len(asked.split()),
                "completion_tokens": 20,
                "prompt_tokens_details": {"cached_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 8},
            },
        }
