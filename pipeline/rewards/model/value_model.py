"""Defines the network of a PRM or ORM: a backbone with a head whose output at a token is the value of the prefix ending
there.

    ids ─► backbone ─► hidden [B, T, H] ─► head ─► logits [B, T, n] ─► values [B, T] in [0, 1]

With a causal backbone a step's score depends on its prefix alone, so one pass over a trajectory gives the scores of all
its steps, and the keys and values of a prefix can be kept for the next step (serving.prefix_cache). n = 1: sigmoid of
the logit; n = 2: softmax, the second class being "good", as published PRMs have it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

HEAD_NAMES = ("score", "classifier")  # names under which transformers' sequence classifiers keep their head


class ValueModel(nn.Module):
    """`inner` holds the backbone under its `base_model_prefix`, and the head. `causal` is False for encoders: then only
    whole sequences can be read, and nothing is kept between calls. `activation`: sigmoid or identity, for n = 1;
    `logit_mean` is taken off the logit before it (what training on balanced classes has put on it)."""

    def __init__(self, inner: Any, *, causal: bool = True, activation: str = "sigmoid") -> None:
        super().__init__()
        self.inner = inner
        self.causal = causal
        self.activation = activation
        self.logit_mean = 0.0

    @property
    def config(self) -> Any:
        """The configuration of the transformers model."""
        return self.inner.config

    @property
    def backbone(self) -> Any:
        """The model below the head: token ids to hidden states [batch, tokens, hidden]."""
        return getattr(self.inner, self.inner.base_model_prefix)

    @property
    def head(self) -> nn.Module:
        """The layer from hidden states [batch, tokens, hidden] to logits [batch, tokens, 1]."""
        return next(getattr(self.inner, name) for name in HEAD_NAMES if hasattr(self.inner, name))

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.inner.parameters()).device

    def to_device(self) -> ValueModel:
        """Onto this process's GPU, where it has one."""
        return self.to("cuda") if torch.cuda.is_available() else self

    @property
    def max_tokens(self) -> int | None:
        """The longest sequence the positions allow; None if nothing says."""
        text = self.config.get_text_config() if hasattr(self.config, "get_text_config") else self.config
        return getattr(text, "max_position_embeddings", None)

    @property
    def vocabulary_size(self) -> int:
        """How many token ids it reads."""
        return self.backbone.get_input_embeddings().num_embeddings

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: Any,
        position_ids: torch.Tensor | None = None,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits at every token, [B, T, n], or at the tokens with these numbers, counted row by row, [W, n].
        Sequences are padded on the right; a packed tree brings a mask and positions of its own."""
        given = {} if position_ids is None else {"position_ids": position_ids}
        hidden = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False, **given
        ).last_hidden_state
        return self.head(hidden if places is None else hidden.flatten(0, 1)[places])

    def pooled(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Values of whole sequences, [B]: for backbones that are not causal."""
        return self.values(self.inner(input_ids=input_ids, attention_mask=attention_mask).logits)

    def extend(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor, past: Any
    ) -> tuple[torch.Tensor, Any]:
        """Values at new tokens behind kept keys and values, [B, T], and the cache grown by them."""
        out = self.backbone(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past,
            use_cache=True,
        )
        return self.values(self.head(out.last_hidden_state)), out.past_key_values

    def values(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [..., n] to values [...]."""
        logits = logits.float()
        if logits.shape[-1] == 1:
            raw = logits.squeeze(-1) - self.logit_mean
            return torch.sigmoid(raw) if self.activation == "sigmoid" else raw
        return torch.softmax(logits, dim=-1)[..., 1]
