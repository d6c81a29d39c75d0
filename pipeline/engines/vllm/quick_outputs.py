"""Keeps the tokens of a sample that nobody looks at before its end, without vLLM's way through five objects a token.

    first output ─► vLLM, `keeper` looks at what it has made ─► the next ones ─► Keeper ─► last output ─► vLLM

Tokens and log-probabilities go to where vLLM keeps them itself, so that the last output, or an abort, finds them there.
Stop strings, streams and log-probabilities of prompts are vLLM's business, token by token.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

from berry.pipeline.engines.vllm.wire import PlainLogprobs

Keeper = Callable[[Any], bool]
"""Takes an output of the engine core; False where vLLM has to."""


def leave(_output: Any) -> bool:
    """The keeper of a request whose outputs are all vLLM's."""
    return False


def keeper(state: Any, first: Any) -> Keeper:
    """The keeper for a request in the state that vLLM's OutputProcessor has of it, of which `first` is the first
    output."""
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.detokenizer import IncrementalDetokenizer

    processor = state.logprobs_processor
    if (
        state.output_kind is not RequestOutputKind.FINAL_ONLY
        or type(state.detokenizer) is not IncrementalDetokenizer
        or processor is None
        or processor.num_prompt_logprobs is not None
        or any(getattr(first, name, None) is not None for name in ("routed_experts", "new_sampling_mask"))
        or getattr(state, "streaming_input", False)
    ):
        return leave
    take_ids = state.detokenizer.token_ids.extend
    if processor.num_logprobs is None:

        def keep_ids(output: Any) -> bool:
            if output.finish_reason is not None or output.new_logprobs is not None:
                return False
            take_ids(output.new_token_ids)
            return True

        return keep_ids
    flat = processor.logprobs
    if not isinstance(getattr(flat, "logprobs", None), array):
        return leave
    width = processor.num_logprobs + 1
    take_row_ids, take_row = flat.token_ids.frombytes, flat.logprobs.frombytes

    def keep(output: Any) -> bool:
        rows = output.new_logprobs
        if output.finish_reason is not None or type(rows) is not PlainLogprobs:
            return False
        take_ids(output.new_token_ids)
        if rows.width != width:
            rows = rows.narrowed(width)
        take_row_ids(rows.token_ids)
        take_row(rows.logprobs)
        return True

    return keep
