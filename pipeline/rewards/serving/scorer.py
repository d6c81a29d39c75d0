"""Computes values of token sequences, reading only what no kept prefix covers.

    [ids] ─► PrefixCache.insert ─► missing waves ─► padded batches, ValueModel.extend ─► values at the last tokens

Rows of a batch have pasts of different lengths: they are padded on the left, new tokens on the right, and masks and
positions say so. Counted: `computed` tokens that went through the model, `naive` those that would have without keeping
anything, `padded` the places of the batches computed in vain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from berry.pipeline.errors import EngineError
from berry.pipeline.rewards.model.value_model import ValueModel
from berry.pipeline.rewards.serving.key_values import LayerLayout
from berry.pipeline.rewards.serving.prefix_cache import PrefixCache, PrefixNode


@dataclass(slots=True)
class Reads:
    """What was read since the start: `sequences`, and everything else in tokens."""

    sequences: int = 0
    naive: int = 0
    computed: int = 0
    padded: int = 0


class PrefixScorer:
    """`keep_tokens`: how many tokens' keys and values to keep; `batch_tokens`: places of one forward pass."""

    def __init__(self, model: ValueModel, *, keep_tokens: int = 65536, batch_tokens: int = 8192) -> None:
        self.model = model.eval()
        self.cache = PrefixCache(keep_tokens)
        self.batch_tokens = batch_tokens
        self.reads = Reads()
        self.layout = LayerLayout()

    def values(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """The value at the end of each sequence. Raises EngineError for one that the model can't read."""
        for ids in sequences:
            self._check(ids)
        self.reads.sequences += len(sequences)
        self.reads.naive += sum(map(len, sequences))
        with torch.inference_mode():
            return self._causal(sequences) if self.model.causal else self._whole(sequences)

    def _check(self, ids: Sequence[int]) -> None:
        longest = self.model.max_tokens
        if not ids:
            raise EngineError("the reward model was asked for the value of nothing: no token")
        if longest is not None and len(ids) > longest:
            raise EngineError(f"a prefix of {len(ids)} tokens is longer than the reward model's context of {longest}")
        if max(ids) >= self.model.vocabulary_size:
            raise EngineError(
                f"token {max(ids)} is beyond the reward model's vocabulary of {self.model.vocabulary_size}: it was "
                "made for another tokenizer"
            )

    def _causal(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        ends = [self.cache.insert(ids) for ids in sequences]
        try:
            for wave in self.cache.missing(ends):
                for rows in _batches(wave, self.batch_tokens):
                    self._extend(rows)
        except BaseException:
            self.cache.forget_missing()
            raise
        values = [node.values[-1] for node in ends if node.values is not None]
        self.cache.trim()
        return values

    def _extend(self, rows: Sequence[PrefixNode]) -> None:
        device = self.model.device
        before, longest = max(row.start for row in rows), max(len(row.ids) for row in rows)
        ids = torch.zeros((len(rows), longest), dtype=torch.long)
        mask = torch.zeros((len(rows), before + longest), dtype=torch.long)
        positions = torch.zeros((len(rows), longest), dtype=torch.long)
        for i, row in enumerate(rows):
            n = len(row.ids)
            ids[i, :n] = torch.tensor(row.ids)
            mask[i, before - row.start : before + n] = 1
            positions[i, :n] = torch.arange(row.start, row.end)
        values, cache = self.model.extend(
            ids.to(device), mask.to(device), positions.to(device), DynamicCache(self.layout.pasts(rows, before))
        )
        fresh = self.layout.fresh([(layer.keys, layer.values) for layer in cache.layers], before)
        for row, listed, kept in zip(rows, values.tolist(), fresh, strict=True):
            n = len(row.ids)
            row.values = listed[:n]
            row.layers = [tensor[:, :, :n].clone() for tensor in kept]
        new = sum(len(row.ids) for row in rows)
        self.reads.computed += new
        self.reads.padded += ids.numel() - new

    def _whole(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """Encoders: the sequences as they are."""
        values: list[float] = []
        longest = max(map(len, sequences))
        step = max(1, self.batch_tokens // longest)
        for start in range(0, len(sequences), step):
            rows = sequences[start : start + step]
            width = max(map(len, rows))
            pad = getattr(self.model.config, "pad_token_id", None) or 0
            ids = torch.full((len(rows), width), pad, dtype=torch.long)
            mask = torch.zeros_like(ids)
            for i, row in enumerate(rows):
                ids[i, : len(row)] = torch.tensor(list(row))
                mask[i, : len(row)] = 1
            values.extend(self.model.pooled(ids.to(self.model.device), mask.to(self.model.device)).tolist())
            self.reads.computed += sum(map(len, rows))
            self.reads.padded += ids.numel() - sum(map(len, rows))
        return values


def _batches(wave: Sequence[PrefixNode], batch_tokens: int) -> Iterator[list[PrefixNode]]:
    """A wave in batches whose padded size, pasts included, stays within `batch_tokens` (one row at least)."""
    rows: list[PrefixNode] = []
    width = 0
    for node in sorted(wave, key=lambda n: (n.start, len(n.ids))):
        wider = max(width, node.end)
        if rows and wider * (len(rows) + 1) > batch_tokens:
            yield rows
            rows, wider = [], node.end
        rows.append(node)
        width = wider
    if rows:
        yield rows
