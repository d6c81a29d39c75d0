"""Makes the rows of a preferred and a rejected whole response, which `dpo` and `pairs` share."""

from __future__ import annotations

from array import array
from typing import Any, Protocol

import pyarrow as pa

from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.base import (
    IDS,
    LOGPROBS,
    MASK,
    MESSAGES,
    ColumnTypes,
    Layout,
    Sampled,
    assistant,
    layout,
)


class Preference(Protocol):
    """Two responses to one prompt. `shared`: response tokens that both begin with, which teach nothing."""

    @property
    def chosen(self) -> Sampled:
        """The better response."""
        ...

    @property
    def rejected(self) -> Sampled:
        """The worse response."""
        ...

    @property
    def shared(self) -> int:
        """Leading response tokens that both have."""
        ...


_TEXT: ColumnTypes = (("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES))
_TOKENS: ColumnTypes = (
    ("chosen_ids", IDS),
    ("rejected_ids", IDS),
    ("chosen_loss_mask", MASK),
    ("rejected_loss_mask", MASK),
    ("chosen_logprobs", LOGPROBS),
    ("rejected_logprobs", LOGPROBS),
    ("prompt_tokens", pa.int32()),
    ("shared_tokens", pa.int32()),
)


def text_layout(columns: ColumnTypes, more: Any) -> Layout:
    """Messages as TRL and OpenRLHF read them; `more` gives the further columns of a record."""
    return layout([*_TEXT, *columns], lambda r: _text(r) | more(r))


def token_layout(columns: ColumnTypes, more: Any) -> Layout:
    """Sampled ids, prompt and response together; masks and log-probabilities are one a token. The mask is 0 for the
    prompt and for the `shared_tokens` behind it, in which the responses are still the same."""
    return layout([*_TOKENS, *columns], lambda r: _tokens(r) | more(r))


def _text(pair: Preference) -> Row:
    return {
        "prompt": pair.chosen.messages,
        "chosen": assistant(pair.chosen.text),
        "rejected": assistant(pair.rejected.text),
    }


def _tokens(pair: Preference) -> Row:
    return {
        "chosen_ids": pair.chosen.input_ids,
        "rejected_ids": pair.rejected.input_ids,
        "chosen_loss_mask": _mask(pair.chosen, pair.shared),
        "rejected_loss_mask": _mask(pair.rejected, pair.shared),
        "chosen_logprobs": pair.chosen.whole_logprobs,
        "rejected_logprobs": pair.rejected.whole_logprobs,
        "prompt_tokens": len(pair.chosen.prompt_ids),
        "shared_tokens": pair.shared,
    }


def _mask(response: Sampled, shared: int) -> array[int]:
    mask = response.loss_mask
    masked = len(response.prompt_ids) + shared
    mask[:masked] = array("b", bytes(masked))
    return mask
