"""Reads a pack with a causal language model: each token looks at its own way from the root, and at nothing else.

On cores the mask is a dense [T, T] of booleans for PyTorch's scaled-dot-product attention; on a GPU it is
FlexAttention's block mask, which skips the blocks that hold nothing. Positions are depths, as the sequences alone have
them.
"""

from __future__ import annotations

from typing import Any

import torch

from berry.pipeline.rewards.packing.layout import Pack


def attention_mask(pack: Pack, model: Any, device: torch.device) -> Any:
    """What the model takes as `attention_mask`: [R, T] of ones and zeros for padded rows, [1, 1, T, T] for a pack, a
    block mask where the model uses FlexAttention."""
    longest = pack.ids.shape[1]
    if pack.ends is None:
        return (torch.arange(longest)[None, :] < torch.from_numpy(pack.lengths)[:, None]).long().to(device)
    ends = torch.from_numpy(pack.ends).to(device)
    if _implementation(model) == "flex_attention":
        return flex_mask(ends)
    numbers = torch.arange(longest, device=device)
    allowed = (numbers[None, :] <= numbers[:, None]) & (numbers[:, None] < ends[None, :])
    if _implementation(model) == "sdpa":
        return allowed[None, None]
    dtype = next(model.parameters()).dtype
    return torch.zeros(allowed.shape, dtype=dtype, device=device).masked_fill(~allowed, torch.finfo(dtype).min)[
        None, None
    ]


def flex_mask(ends: torch.Tensor) -> Any:
    """FlexAttention's mask of a pack with these ends, [T]."""
    from torch.nn.attention.flex_attention import create_block_mask

    def looks_at(_batch: Any, _head: Any, token: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (other <= token) & (token < ends[other])

    return create_block_mask(looks_at, None, None, len(ends), len(ends), device=ends.device)


def inputs_of(pack: Pack, model: Any, device: torch.device) -> dict[str, Any]:
    """Arguments of a pass of a transformers model over the pack."""
    return {
        "input_ids": torch.from_numpy(pack.ids).to(device),
        "position_ids": torch.from_numpy(pack.positions.copy()).to(device),
        "attention_mask": attention_mask(pack, model, device),
        "use_cache": False,
    }


def token_logprobs(model: Any, pack: Pack, wanted: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """Log-probability, in nats, of each wanted token given those before it.

    `wanted`: numbers of tokens [W], none of them a first one; returns [W], float32. `temperature` divides the logits,
    as sampling did. Logits are computed where they are needed and nowhere else.
    """
    device = next(model.parameters()).device
    rows, of_row = torch.unique(torch.from_numpy(pack.parents)[wanted.cpu()], return_inverse=True)
    of_row = of_row.to(device)
    given = inputs_of(pack, model, device)
    if len(pack.ids) == 1:
        logits = model(**given, logits_to_keep=rows.to(device)).logits[0]
    else:
        logits = model(**given).logits.flatten(0, 1)[rows.to(device)]
    logits = logits.float() / temperature
    chosen = torch.from_numpy(pack.ids.reshape(-1)).to(device)[wanted.to(device)]
    return logits[of_row, chosen] - torch.logsumexp(logits, dim=-1)[of_row]


def prefers_flex(model: Any) -> bool:
    """Whether packs are read by FlexAttention: on a GPU, which its kernels are compiled for."""
    return next(model.parameters()).is_cuda


def _implementation(model: Any) -> str:
    inner = getattr(model, "module", model)  # of a model whose gradients several processes share
    return getattr(inner.config, "_attn_implementation", "eager")
