"""A server that answers as SGLang documents, over real sockets, with the model of a completions server behind it.

    POST /generate ─► the completions server, streamed ─► one JSON, or events with all tokens so far
    POST /abort_request ─► the sample ends with what it has          GET /v1/models, /health, /get_model_info

It holds to the documentation, not to SGLang's code: no GPU is here to run that.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines.http.completions import Completions, EventStream
from berry.pipeline.engines.http.dialect import SampleRequest
from tests.engines.http.served import Served


@dataclass(slots=True)
class SglangServer:
    """`behind`: the completions server's URL, with its version; `incremental`: events hold what is new alone, as
    `--incremental-streaming-output` has it. `asked`: bodies so far; `aborted`: ids that an abort was asked for."""

    behind: str
    model: str
    incremental: bool = False
    weight_version: str = "default"
    asked: list[dict[str, Any]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    url: str = ""
    _running: dict[str, asyncio.Event] = field(default_factory=dict)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/generate", self._generate, methods=["POST"]),
                Route("/abort_request", self._abort, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/health", lambda _: Response()),
                Route("/get_model_info", self._model_info),
            ]
        )

    async def _models(self, _: Request) -> Response:
        async with httpx.AsyncClient() as client:
            return JSONResponse((await client.get(f"{self.behind}/models")).json())

    async def _model_info(self, _: Request) -> Response:
        return JSONResponse({"model_path": self.model, "weight_version": self.weight_version, "is_generation": True})

    async def _abort(self, request: Request) -> Response:
        rid = (await request.json())["rid"]
        self.aborted.append(rid)
        if rid in self._running:
            self._running[rid].set()
        return Response()

    async def _generate(self, request: Request) -> Response:
        body = await request.json()
        self.asked.append(body)
        if body["stream"]:
            return StreamingResponse(self._events(body), media_type="text/event-stream")
        last: dict[str, Any] = {}
        async for answer, _ in self._answers(body):
            last = answer
        return JSONResponse(last)

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        sent = 0
        async for answer, count in self._answers(body):
            if self.incremental:
                told = answer["meta_info"]
                told["output_token_logprobs"] = told["output_token_logprobs"][sent:]
                told["output_top_logprobs"] = told["output_top_logprobs"][sent:]
                answer["output_ids"] = answer["output_ids"][sent:]
                sent = count
            yield f"data: {json.dumps(answer)}\n\n"
        yield "data: [DONE]\n\n"

    async def _answers(self, body: dict[str, Any]) -> AsyncIterator[tuple[dict[str, Any], int]]:
        """What there is so far, again and again; the last says how it ended."""
        wanted, stop = body["sampling_params"], self._running.setdefault(body["rid"], asyncio.Event())
        sampling = Sampling(
            wanted["temperature"], wanted["top_p"], max(wanted["top_k"], 0), wanted["min_p"], body["top_logprobs_num"]
        )
        until = Until(wanted["max_new_tokens"], tuple(wanted["stop"]))
        asked = SampleRequest(
            body["rid"], body["input_ids"], until, sampling, wanted["sampling_seed"], until.max_tokens
        )
        found = EventStream()
        try:
            async with (
                httpx.AsyncClient(timeout=60) as client,
                client.stream(
                    "POST", f"{self.behind}/completions", json=Completions().body(self.model, asked)
                ) as reply,
            ):
                assert reply.status_code == 200, await reply.aread()
                async for line in reply.aiter_lines():
                    if stop.is_set():
                        yield self._told(found, {"type": "abort", "message": "Abort in waiting queue"})
                        return
                    if found.feed(line) and not found.ended:
                        yield self._told(found, None)
            yield self._told(found, self._reason(found, until))
        finally:
            self._running.pop(body["rid"], None)

    def _reason(self, found: EventStream, until: Until) -> dict[str, Any]:
        if found.finish_reason == "length":
            return {"type": "length", "length": len(found.token_ids)}
        stopped = found.stop_reason if isinstance(found.stop_reason, str) else None
        assert stopped is None or stopped in until.delimiters
        return {"type": "stop", "matched": stopped if stopped is not None else found.token_ids[-1]}

    def _told(self, found: EventStream, reason: dict[str, Any] | None) -> tuple[dict[str, Any], int]:
        top = [[[p, int(t.removeprefix("token_id:")), None] for t, p in row.items()] for row in found.top]
        told = {
            "finish_reason": reason,
            "completion_tokens": len(found.token_ids),
            "cached_tokens": found.cached_tokens,
            "weight_version": self.weight_version,
            "output_token_logprobs": [[p, t, None] for p, t in zip(found.logprobs, found.token_ids, strict=True)],
            "output_top_logprobs": top,
        }
        return {"text": found.text, "output_ids": list(found.token_ids), "meta_info": told}, len(found.token_ids)


@contextmanager
def sglang(behind: str, *, model: str = "tiny", **keys: Any) -> Iterator[tuple[SglangServer, Served]]:
    """A running server before the completions server at `behind`."""
    server = SglangServer(behind, model, **keys)
    served = Served(server.app())
    served.start()
    server.url = served.url
    try:
        yield server, served
    finally:
        served.stop()
