"""Gathers the keys and values of many prefixes for one forward pass, and parts what the pass has added.

    nodes on the rows' paths ─► joined once, [2 * layers, heads, all their tokens, dim]
                             ─► one gather by token number ─► pasts [rows, heads, tokens before, dim] a layer, as views

Copies a layer, row and node would be tens of thousands of small operations a batch, which on a GPU take longer than the
pass itself. Here their number depends on the nodes (one join) and on the rows (one copy each of what is kept).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from berry.pipeline.rewards.serving.prefix_cache import Kept, PrefixNode

Shape = tuple[Any, ...]  # heads, head dimension, dtype


class LayerLayout:
    """Which layers lie together: those of one shape. Most models have one; some mix two kinds of attention."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int, int]] = []  # a layer: the group, where its keys and its values lie there

    def fresh(self, layers: Sequence[tuple[torch.Tensor, torch.Tensor]], before: int) -> Iterator[Kept]:
        """Keys and values a layer, [rows, heads, before + new, dim], to what is new, a row: views, not copies."""
        groups: dict[Shape, list[int]] = {}
        for index, (keys, _) in enumerate(layers):
            groups.setdefault((keys.shape[1], keys.shape[3], keys.dtype), []).append(index)
        stacked = []
        self.places = [(0, 0, 0)] * len(layers)
        for group, members in enumerate(groups.values()):
            for at, index in enumerate(members):
                self.places[index] = (group, at, at + len(members))
            sides = [layers[index][side][:, :, before:] for side in (0, 1) for index in members]
            stacked.append(torch.stack(sides, dim=1))  # [rows, 2 * layers, heads, new, dim]
        return (list(row) for row in zip(*(group.unbind(0) for group in stacked), strict=True))

    def pasts(self, rows: Sequence[PrefixNode], before: int) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
        """Keys and values of what comes before each row, a layer, padded on the left to `before` tokens; None where
        nothing comes before any."""
        if not before:
            return None
        index, nodes = _numbers(rows, before)
        gathered = []
        for group in range(len(nodes[0].layers or ())):
            parts = [node.layers[group] for node in nodes if node.layers is not None]
            padding = parts[0].new_zeros((*parts[0].shape[:2], 1, parts[0].shape[3]))
            flat = torch.cat([padding, *parts], dim=2).index_select(2, index.to(padding.device))
            gathered.append(flat.unflatten(2, (len(rows), before)).transpose(1, 2))  # [2 * layers, rows, heads, …]
        return [(gathered[group][keys], gathered[group][values]) for group, keys, values in self.places]


def _numbers(rows: Sequence[PrefixNode], before: int) -> tuple[torch.Tensor, list[PrefixNode]]:
    """For each place of the pasts, row by row, the number of its token among those of the nodes, which are given in
    order; 0 is padding."""
    starts: dict[PrefixNode, int] = {}
    total = 1
    index = np.zeros((len(rows), before), dtype=np.int64)
    for i, row in enumerate(rows):
        at = before - row.start
        for node in row.path()[:-1]:
            if node not in starts:
                starts[node] = total
                total += len(node.ids)
            index[i, at : at + len(node.ids)] = np.arange(starts[node], starts[node] + len(node.ids))
            at += len(node.ids)
    return torch.from_numpy(index.ravel()), list(starts)
