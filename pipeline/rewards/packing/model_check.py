"""Finds out whether a model reads packs as it reads the sequences alone, before a training relies on it.

Models with a state in place of attention, with windows counted by place in the sequence, or whose code ignores a mask
of four dimensions compute something else over a pack, and say nothing. So the gradients over a small tree are compared,
packed and not, for the very model that is to be trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from berry.pipeline.errors import ConfigError
from berry.pipeline.rewards.packing.attention import prefers_flex
from berry.pipeline.rewards.packing.layout import Pack, pack, pad

Loss = Callable[[Any, Pack], torch.Tensor]
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.1}  # relative, of whole gradients


def why_not_packed(model: Any, loss: Loss, *, vocabulary: int) -> str | None:
    """None where packs give the gradient that the sequences alone give; else what is the matter, in a sentence.

    `loss`: a number that depends on every sequence of a pack. Leaves the model as it was, without gradients.
    """
    draw = np.random.default_rng(0)
    stem, *tails = (draw.integers(0, vocabulary, n) for n in (9, 5, 7, 6, 4))
    branch = np.concatenate((stem, tails[0]))
    sequences = [
        np.concatenate((branch, tails[1])),
        np.concatenate((branch, tails[2])),
        np.concatenate((stem, tails[3])),
    ]
    was_training = model.training
    model.eval()
    try:
        [packed] = pack(sequences, sum(map(len, sequences)))
        try:
            got = _gradient(model, loss, packed)
        except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
            return f"it does not take a mask of four dimensions ({str(error).splitlines()[0][:120]})"
        wanted = _gradient(model, loss, pad(sequences))
    finally:
        model.train(was_training)
    apart = relative_difference(got, wanted)
    bound = TOLERANCE.get(next(model.parameters()).dtype, 1e-3)
    if apart <= bound:
        return None
    return (
        f"over a pack its gradient is {apart:.2g} away from that of the sequences alone, relative; {bound:g} is noise"
    )


def choose_packing(
    model: Any, packing: Literal["auto", "always", "never"], why_not: Callable[[], str | None], *, key: str
) -> str | None:
    """None where a model is to read packs, by FlexAttention on a GPU; else why not, with the attention that it had.

    `model` has the attention, `why_not` tries it; `key` is that of the configuration, without `.packing`. Raises
    ConfigError where packs are demanded and the model can't read them.
    """
    if packing == "never":
        return f"{key}.packing is never"
    if prefers_flex(model):
        model.set_attn_implementation("flex_attention")
    reason = why_not()
    if reason is None:
        return None
    if packing == "always":
        raise ConfigError(f"{key}.packing is always, and this model can't read packs: {reason}")
    if prefers_flex(model):
        model.set_attn_implementation("sdpa")
    return reason


def relative_difference(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    """Norm of the difference over the norm of `wanted`, all parameters together; infinite where a number is not one."""
    apart = sum(float((a - b).double().square().sum()) for a, b in zip(got, wanted, strict=True)) ** 0.5
    whole = sum(float(b.double().square().sum()) for b in wanted) ** 0.5
    share = apart / max(whole, 1e-30)
    return share if np.isfinite(share) else float("inf")


def _gradient(model: Any, loss: Loss, batch: Pack) -> list[torch.Tensor]:
    model.zero_grad(set_to_none=True)
    loss(model, batch).backward()
    found = [
        torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
        for p in model.parameters()
        if p.requires_grad
    ]
    model.zero_grad(set_to_none=True)
    return found
