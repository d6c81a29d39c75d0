"""Speaks SGLang's own `/generate` (`engine.dialect: sglang`): token ids in, token ids and log-probabilities out.

The server repeats all tokens so far in every event of a stream, so that long samples would cost their length squared on
the wire. Samples are therefore asked for whole, and only those that a regular expression may end are streamed. What is
cancelled is aborted by its id, which gives back the tokens that there are.

Source: SGLang's documentation of its native API and sampling parameters; `meta_info` as its tokenizer manager makes it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from berry.pipeline.engines.http.completions import FIRST_SERVER_STATUS
from berry.pipeline.engines.http.dialect import SampleRequest, ServerFailedError, estimated_entropies
from berry.pipeline.errors import EngineError
from berry.pipeline.records import Finish

UNNAMED_VERSION = "default"  # what a server calls weights that nobody has named


@dataclass(slots=True)
class GenerateReply:
    """One sample's answer, whole or in events, read so far: `dialect.Reply`."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[list[float]] = field(default_factory=list)
    finish_reason: dict[str, Any] | None = None
    cached_tokens: int = 0
    weights_version: str = ""

    @property
    def ended(self) -> bool:
        return self.finish_reason is not None

    def feed(self, line: str) -> bool:
        text = line.removeprefix("data:").strip()
        if not text.startswith("{"):
            return False
        event = json.loads(text)
        if "error" in event:
            error = event["error"]
            message = error.get("message", error) if isinstance(error, dict) else error
            raise EngineError(f"the server refuses a request: {message}")
        told = event.get("meta_info") or {}
        rows = told.get("output_token_logprobs")
        if rows is None:
            raise EngineError("the server sends no `output_token_logprobs`: it must know `return_logprob`, as SGLang's")
        total = int(told.get("completion_tokens", len(rows)))
        self._take(rows, told.get("output_top_logprobs") or (), total)
        self.cached_tokens = told.get("cached_tokens") or 0
        version = told.get("weight_version") or ""
        self.weights_version = "" if version == UNNAMED_VERSION else str(version)
        reason = told.get("finish_reason")
        if isinstance(reason, str):  # as early releases said it
            reason = {"type": reason}
        self.finish_reason = reason or self.finish_reason
        return True

    def _take(self, rows: Sequence[Sequence[Any]], top: Sequence[Any], total: int) -> None:
        """Takes [log-probability, token id, text] of all tokens so far, or of those since the last event, which is a
        server's own choice: `total` tells which."""
        if len(rows) == total:
            self.token_ids.clear()
            self.logprobs.clear()
            self.top.clear()
        elif len(self.token_ids) + len(rows) != total:
            raise EngineError(
                f"the server counts {total} tokens, and has sent {len(self.token_ids)} and then {len(rows)}"
            )
        self.logprobs.extend(float(row[0]) for row in rows)
        self.token_ids.extend(int(row[1]) for row in rows)
        self.top.extend(sorted((float(entry[0]) for entry in row or ()), reverse=True) for row in top)

    def finish(self, delimiters: Sequence[str], stop_ids: Sequence[int] = ()) -> Finish:
        del delimiters  # the server names what it stopped at
        reason = self.finish_reason or {}
        kind, matched = reason.get("type"), reason.get("matched")
        if kind == "length":
            return Finish.LENGTH
        if kind == "abort":
            status = reason.get("status_code")
            message = f"the server aborted a request: {reason.get('message') or 'it says no reason'}"
            if isinstance(status, int) and status < FIRST_SERVER_STATUS:
                raise EngineError(message)
            raise ServerFailedError(message)
        if kind != "stop":
            raise ServerFailedError(f"the server ended a request with {kind!r}")
        return Finish.STEP if isinstance(matched, str) or matched in stop_ids else Finish.STOP

    def entropies(self, count: int) -> tuple[float, ...]:
        return estimated_entropies(self.top[:count])


class NativeGenerate:
    """The dialect of `sglang.launch_server`."""

    path = "/generate"
    abort_path = "/abort_request"
    streams_always = False

    def body(self, model: str, request: SampleRequest) -> dict[str, Any]:
        del model  # a server has one
        sampling = request.sampling
        return {
            "rid": request.sample_id,
            "input_ids": list(request.prompt_ids),
            "sampling_params": {
                "max_new_tokens": request.max_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k or -1,
                "min_p": sampling.min_p,
                "sampling_seed": request.seed,
                "stop": list(request.until.delimiters),
                "stop_token_ids": list(request.stop_ids),
                "no_stop_trim": True,
            },
            "return_logprob": True,
            "top_logprobs_num": sampling.top_logprobs,
            "stream": request.stream,
        }

    def reply(self) -> GenerateReply:
        return GenerateReply()
