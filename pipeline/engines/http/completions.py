"""Speaks to an OpenAI-compatible completions server that takes and gives token ids (`engine.dialect: vllm`).

The extensions that vLLM's server has are used (token ids back, stop strings kept, top_k, min_p); a server without
token ids is refused, because trees live on token ids and text does not tokenise back to the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from berry.pipeline.engines.http.dialect import SampleRequest, ServerFailedError, estimated_entropies
from berry.pipeline.errors import EngineError
from berry.pipeline.records import Finish

TOKEN_PREFIX = "token_id:"
FIRST_SERVER_STATUS = 500


@dataclass(slots=True)
class EventStream:
    """A stream of server-sent events, read so far: `dialect.Reply`."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[dict[str, float]] = field(default_factory=list)
    text: str = ""
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    cached_tokens: int = 0
    weights_version: str = ""

    @property
    def ended(self) -> bool:
        return self.finish_reason is not None

    def feed(self, line: str) -> bool:
        if not line.startswith("data:") or line.endswith("[DONE]"):
            return False
        event = json.loads(line.removeprefix("data:"))
        if "error" in event:
            error = event["error"]
            text, code = (error.get("message", error), error.get("code")) if isinstance(error, dict) else (error, None)
            if isinstance(code, int) and code < FIRST_SERVER_STATUS:
                raise EngineError(f"the server refuses a request: {text}")
            raise ServerFailedError(f"the server broke off: {text}")
        details = (event.get("usage") or {}).get("prompt_tokens_details") or {}
        self.cached_tokens = details.get("cached_tokens") or self.cached_tokens
        for choice in event.get("choices", ()):
            self._choice(choice)
        return bool(event.get("choices"))

    def finish(self, delimiters: Sequence[str], stop_ids: Sequence[int] = ()) -> Finish:
        """A server that does not name the stop string is judged by the text."""
        if self.finish_reason == "length":
            return Finish.LENGTH
        if self.finish_reason != "stop":
            raise ServerFailedError(f"the server ended a request with {self.finish_reason!r}")
        if isinstance(self.stop_reason, str) or self.stop_reason in stop_ids or any(d in self.text for d in delimiters):
            return Finish.STEP
        return Finish.STOP

    def entropies(self, count: int) -> tuple[float, ...]:
        return estimated_entropies([sorted(row.values(), reverse=True) for row in self.top[:count]])

    def _choice(self, choice: dict[str, Any]) -> None:
        logprobs = choice.get("logprobs") or {}
        token_ids = choice.get("token_ids")
        if token_ids is None:
            token_ids = [_token_id(token) for token in logprobs.get("tokens", ())]
        self.token_ids.extend(token_ids)
        self.logprobs.extend(logprobs.get("token_logprobs") or ())
        self.top.extend(row or {} for row in logprobs.get("top_logprobs") or ())
        self.text += choice.get("text") or ""
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        stop_reason = choice.get("stop_reason")
        self.stop_reason = self.stop_reason if stop_reason is None else stop_reason


class Completions:
    """The dialect of `vllm serve`: one stream a sample, whose closing ends it at the server."""

    path = "/v1/completions"
    abort_path = None
    streams_always = True

    def body(self, model: str, request: SampleRequest) -> dict[str, Any]:
        sampling = request.sampling
        return {
            "model": model,
            "prompt": list(request.prompt_ids),
            "max_tokens": request.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,
            "min_p": sampling.min_p,
            "seed": request.seed,
            "stop": list(request.until.delimiters),
            **({"stop_token_ids": list(request.stop_ids)} if request.stop_ids else {}),
            "include_stop_str_in_output": True,
            "logprobs": sampling.top_logprobs,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def reply(self) -> EventStream:
        return EventStream()


def _token_id(token: str) -> int:
    if not token.startswith(TOKEN_PREFIX):
        raise EngineError(
            "the server sends no token ids: it must know `return_token_ids` or `return_tokens_as_token_ids`, "
            "as vLLM's does"
        )
    return int(token.removeprefix(TOKEN_PREFIX))
