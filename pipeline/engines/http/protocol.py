"""Writes requests to a completions server and reads its streams. Pure: no sockets here.

    Request ─► body(...) ─► POST /completions (stream) ─► lines ─► Reading.feed ─► token ids, log-probabilities, end

The extensions that vLLM's server has are used (token ids back, stop strings kept, top_k, min_p); a server without
token ids is refused, because trees live on token ids and text does not tokenise back to the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from berry.pipeline.core.events import Sampling, Until
from berry.pipeline.engines import entropy
from berry.pipeline.errors import EngineError
from berry.pipeline.records import Finish

TOKEN_PREFIX = "token_id:"


def body(
    model: str,
    prompt_ids: Sequence[int],
    *,
    until: Until,
    sampling: Sampling,
    seed: int,
    max_tokens: int,
    stop_ids: Sequence[int] = (),
) -> dict[str, Any]:
    """The JSON of one sample's request. `stop_ids`: delimiters that are control tokens, of which no text is seen."""
    return {
        "model": model,
        "prompt": list(prompt_ids),
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k or -1,
        "min_p": sampling.min_p,
        "seed": seed,
        "stop": list(until.delimiters),
        **({"stop_token_ids": list(stop_ids)} if stop_ids else {}),
        "include_stop_str_in_output": True,
        "logprobs": sampling.top_logprobs,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@dataclass(slots=True)
class EventStream:
    """A stream of server-sent events, read so far."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[dict[str, float]] = field(default_factory=list)
    text: str = ""
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    cached_tokens: int = 0

    def feed(self, line: str) -> bool:
        """Takes one line of the stream; True if it brought tokens or the end. Raises EngineError on a server's own."""
        if not line.startswith("data:") or line.endswith("[DONE]"):
            return False
        event = json.loads(line.removeprefix("data:"))
        if "error" in event:
            error = event["error"]
            raise EngineError(f"the server broke off: {error.get('message', error)}")
        details = (event.get("usage") or {}).get("prompt_tokens_details") or {}
        self.cached_tokens = details.get("cached_tokens") or self.cached_tokens
        for choice in event.get("choices", ()):
            self._choice(choice)
        return bool(event.get("choices"))

    def finish(self, delimiters: Sequence[str], stop_ids: Sequence[int] = ()) -> Finish:
        """Why the sample ended. A server that does not name the stop string is judged by the text."""
        if self.finish_reason == "length":
            return Finish.LENGTH
        if self.finish_reason != "stop":
            raise EngineError(f"the server ended a request with {self.finish_reason!r}")
        if isinstance(self.stop_reason, str) or self.stop_reason in stop_ids or any(d in self.text for d in delimiters):
            return Finish.STEP
        return Finish.STOP

    def entropies(self, count: int) -> tuple[float, ...]:
        """Estimates (berry.pipeline.engines.entropy) for the first `count` tokens; empty if none were asked for."""
        rows = [sorted(row.values(), reverse=True) for row in self.top[:count]]
        width = max((len(row) for row in rows), default=0)
        if width <= 1:
            return ()
        top = np.full((len(rows), width), -np.inf)
        for i, row in enumerate(rows):
            top[i, : len(row)] = row
        return tuple(entropy.estimate(np.full(len(rows), -np.inf), top).tolist())

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


def _token_id(token: str) -> int:
    if not token.startswith(TOKEN_PREFIX):
        raise EngineError(
            "the server sends no token ids: it must know `return_token_ids` or `return_tokens_as_token_ids`, "
            "as vLLM's does"
        )
    return int(token.removeprefix(TOKEN_PREFIX))
