"""The rows of a preferred and a rejected whole response, which `dpo` and `pairs` share."""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa

from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.base import IDS, MASK, MESSAGES, Columns, Layout, Sampled, assistant, layout


class Preference(Protocol):
    """Two responses to one prompt. `shared`: response tokens that both begin with, which teach nothing."""

    @property
    def chosen(self) -> Sampled: ...
    @property
    def rejected(self) -> Sampled: ...
    @property
    def shared(self) -> int: ...


_TEXT: Columns = (("prompt", MESSAGES), ("chosen", MESSAGES), ("rejected", MESSAGES))
_TOKENS: Columns = (
    ("prompt_input_ids", IDS),
    ("chosen_input_ids", IDS),
    ("rejected_input_ids", IDS),
    ("chosen_loss_mask", MASK),
    ("rejected_loss_mask", MASK),
    ("shared_tokens", pa.int32()),
)


def text_layout(columns: Columns, more: Any) -> Layout:
    """Messages as TRL and OpenRLHF read them; `more` gives the further columns of a record."""
    return layout([*_TEXT, *columns], lambda r: _text(r) | more(r))


def token_layout(columns: Columns, more: Any) -> Layout:
    """Sampled ids; the masks are one a response token, 0 where the responses are still the same."""
    return layout([*_TOKENS, *columns], lambda r: _tokens(r) | more(r))


def _text(pair: Preference) -> Row:
    return {
        "prompt": pair.chosen.messages,
        "chosen": assistant(pair.chosen.text),
        "rejected": assistant(pair.rejected.text),
    }


def _tokens(pair: Preference) -> Row:
    return {
        "prompt_input_ids": list(pair.chosen.prompt_ids),
        "chosen_input_ids": list(pair.chosen.token_ids),
        "rejected_input_ids": list(pair.rejected.token_ids),
        "chosen_loss_mask": _mask(pair.chosen, pair.shared),
        "rejected_loss_mask": _mask(pair.rejected, pair.shared),
        "shared_tokens": pair.shared,
    }


def _mask(response: Sampled, shared: int) -> list[int]:
    own = response.loss_mask[len(response.prompt_ids) :]
    return [0] * min(shared, len(own)) + own[shared:]
