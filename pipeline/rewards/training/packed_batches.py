"""Reads batches of labelled sequences in passes: packed, each shared token once, or padded.

    sequences ─► groups (neighbours of a tree) ─► a batch: some groups, shuffled ─► passes ─► logits at the labels

A label's loss depends on its prefix alone, so that reading a tree once gives the gradient of reading each of its
trajectories. A batch holds a few groups and not one tree, since labels of one problem resemble each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from berry.pipeline.rewards.model.value_model import ValueModel
from berry.pipeline.rewards.packing.attention import inputs_of
from berry.pipeline.rewards.packing.layout import Pack, depth_first, pack, pad
from berry.pipeline.rewards.packing.model_check import why_not_packed
from berry.pipeline.rewards.training.examples import TrainingSequence

GROUPS_A_BATCH = 4


@dataclass(frozen=True, slots=True)
class LabelledPass:
    """What is read at once. `rows`: numbers of the sequences here. `places`, `targets`, `weights` [L]: of each label,
    sequence by sequence, the token's number in the pack, the value it should have and how much it counts."""

    pack: Pack
    rows: tuple[int, ...]
    places: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor


def neighbours(rows: Sequence[TrainingSequence], size: int) -> list[list[int]]:
    """Numbers of the rows by so many, those together that share the longest prefixes; one by one with a size of 1."""
    order = depth_first([np.array(row.ids, np.int64) for row in rows]) if size > 1 else list(range(len(rows)))
    return [order[start : start + size] for start in range(0, len(order), size)]


def passes(rows: Sequence[TrainingSequence], *, pack_tokens: int | None) -> Iterator[LabelledPass]:
    """The passes over these rows: packs of at most so many tokens, or of the longest row where that is longer; None:
    one padded batch."""
    ids = [np.array(row.ids, np.int64) for row in rows]
    made = [pad(ids)] if pack_tokens is None else pack(ids, max(pack_tokens, *map(len, ids)))
    for one in made:
        members = [rows[number] for number in one.members]
        where = [of[list(row.positions)] for of, row in zip(one.places, members, strict=True)]
        yield LabelledPass(
            one,
            one.members,
            torch.from_numpy(np.concatenate(where)),
            torch.tensor([target for row in members for target in row.targets]),
            torch.tensor([weight for row in members for weight in row.weights]),
        )


def logits_at(model: Any, one: Pack, places: torch.Tensor) -> torch.Tensor:
    """Logits of a value model (or of one that wraps it) at the tokens of a pack with these numbers, [W, n]."""
    inner: ValueModel = getattr(model, "module", model)
    given = inputs_of(one, inner, inner.device)
    del given["use_cache"]
    if one.ends is None:  # its positions are the plain ones, which some encoders count in their own way
        del given["position_ids"]
    return model(**given, places=places.to(inner.device))


def why_values_not_packed(model: ValueModel) -> str | None:
    """None where this model reads packs as it reads sequences alone; else what is the matter, in a sentence."""
    if not model.causal:
        return "its backbone is an encoder, whose tokens see what comes after them"
    return why_not_packed(model, _sum_of_squares, vocabulary=model.vocabulary_size)


def _sum_of_squares(model: ValueModel, one: Pack) -> torch.Tensor:
    return logits_at(model, one, torch.from_numpy(np.concatenate(one.places))).float().square().sum()
