"""Translates the protocol's samples to vLLM's and back: sampling parameters in, finish reasons and numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from berry.pipeline.core.events import Sampling
from berry.pipeline.engines import entropy
from berry.pipeline.engines.base import Request
from berry.pipeline.errors import EngineError
from berry.pipeline.records import Finish

SEED_MASK = 2**63 - 1


def params(request: Request, index: int, *, max_tokens: int, seeded: bool = True, stop_ids: Sequence[int] = ()) -> Any:
    """vLLM's SamplingParams of one sample. `seeded`: drawn with seed + index, else from the engine's own noise;
    `stop_ids`: tokens that are delimiters.

    Flat log-probabilities and no text where no stop string asks for it: both cost Python time a token otherwise. Tokens
    stream only to a regular expression; everything else comes once, at its end.
    """
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    sampling, until = request.sampling, request.until
    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=(request.seed + index) & SEED_MASK if seeded else None,
        max_tokens=max_tokens,
        stop=list(until.delimiters),
        stop_token_ids=list(stop_ids) or None,
        include_stop_str_in_output=True,
        detokenize=bool(until.delimiters),
        logprobs=sampling.top_logprobs,
        flat_logprobs=True,
        output_kind=RequestOutputKind.CUMULATIVE if until.regex else RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )


def distribution(sampling: Sampling) -> tuple[float, float, int, float]:
    """Temperature, top-p, top-k (0: no limit) and min-p of the distribution that log-probabilities are of. Nothing is
    drawn at temperature 0: they are the model's own then."""
    if sampling.temperature == 0:
        return 1.0, 1.0, 0, 0.0
    return sampling.temperature, sampling.top_p, max(sampling.top_k, 0), sampling.min_p


def scoring_params() -> Any:
    """For the log-probabilities of a given text: one token more is the least that vLLM generates."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        prompt_logprobs=0,
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def finish(out: Any, params: Any) -> Finish:
    """Why a sample ended. The stop reason is the stop string or stop token that was met, None for the model's end."""
    match out.finish_reason:
        case "stop":
            met = out.stop_reason
            return Finish.STEP if isinstance(met, str) or met in (params.stop_token_ids or ()) else Finish.STOP
        case "length":
            return Finish.LENGTH
        case "abort":
            return Finish.CANCELLED
        case other:
            raise EngineError(f"vLLM ended a request with {other!r}")


def numbers(flat: Any, count: int, top: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Log-probabilities of the first `count` chosen tokens, and their entropies if `top` > 0.

    vLLM's rows are the chosen token and then the `top` likeliest, so the chosen one may be there twice. Whether it is
    shows in the ids alone: where logits tie, its rank may be 1 though another token stands first.
    """
    if flat is None or not count:
        return (), ()
    rows = np.asarray(flat.logprobs, dtype=np.float64).reshape(-1, top + 1)[:count]
    chosen = rows[:, 0]
    if not top:
        return tuple(chosen.tolist()), ()
    ids = np.asarray(flat.token_ids, dtype=np.int64).reshape(-1, top + 1)[:count]
    is_among_top = (ids[:, :1] == ids[:, 1:]).any(axis=1)
    entropies = entropy.estimate(np.where(is_among_top, -np.inf, chosen), rows[:, 1:])
    return tuple(chosen.tolist()), tuple(entropies.tolist())
